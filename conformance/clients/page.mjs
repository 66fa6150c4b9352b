// The page of `anelith serve` in a real browser, as a person has it.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { load } from "./packages.mjs";

const { chromium } = load("playwright-core");
const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!fs.existsSync(BROWSER)) throw new Error(`no browser at ${BROWSER}: \`make browser\` installs Chromium, or CHROMIUM names another`);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const LIMIT = 30_000;

/** A browser with a profile of its own and one page at `url`. `act` gets a `Visit`; what the page does wrong fails it. */
export async function visit(url, act, { width = 1024, height = 768, scheme = "light" } = {}) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "anelith-browser-"));
  const options = { executablePath: BROWSER, headless: true, args: FLAGS, viewport: { width, height }, colorScheme: scheme };
  const context = await chromium.launchPersistentContext(profile, options);
  try {
    const it = new Visit(context, context.pages()[0] ?? await context.newPage(), url);
    await it.page.goto(url);
    await it.page.waitForFunction(() => document.title !== "anelith" || document.querySelector(".notice:not([hidden])"));
    const figures = await act(it);
    it.assertSound();
    return figures;
  } finally {
    await context.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}

class Visit {
  constructor(context, page, url) {
    Object.assign(this, { context, page, origin: new URL(url).origin, faults: [], asked: [] });
    page.setDefaultTimeout(LIMIT);
    context.on("request", (request) => this.asked.push(request.url()));
    page.on("pageerror", (error) => this.faults.push(`error in the page: ${error}`));
    page.on("console", (message) => {
      // The browser's own words about a status or a connection are no fault of the page.
      if (message.type() === "error" && !/Failed to load resource/.test(message.text())) this.faults.push(message.text());
    });
  }

  /** No error in the page, nothing refused by its policy, nothing asked of anyone but the server. */
  assertSound() {
    const away = this.asked.filter((url) => !url.startsWith(`${this.origin}/`) && !url.startsWith("data:"));
    assert.deepEqual(away, [], "requests that left the server");
    assert.deepEqual(this.faults, [], "faults of the page");
  }

  /** Types a question and sends it. */
  async send(question) {
    await this.page.fill("#question", question);
    await this.page.press("#question", "Enter");
  }

  /** Asks, and waits for the whole answer. */
  async ask(question) {
    await this.send(question);
    await this.settled();
    return this.last();
  }

  /** Waits until no answer is under way. */
  settled() { return this.page.waitForSelector("#stop", { state: "hidden" }); }

  /** The text of the last answer. */
  async last() {
    const texts = await this.page.locator("article.assistant .text").allInnerTexts();
    assert.ok(texts.length > 0, `there is no answer; the page says: ${await this.notices()}`);
    return texts.at(-1);
  }

  figures() { return this.page.locator("article.assistant .figures").last().innerText(); }

  /** The texts of all turns. */
  turns() { return this.page.locator("article .text").allInnerTexts(); }

  notices() { return this.page.locator(".notice:visible").allInnerTexts(); }

  /** What axe-core finds to be a barrier. */
  async barriers() {
    await this.page.evaluate(load("axe-core").source);
    const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "incomplete"] }));
    const shown = ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`;
    return { rules: found.passes.length, violations: found.violations.map(shown) };
  }

  /** A picture, where the environment names a folder for them. */
  async picture(name) {
    const folder = process.env.PICTURES;
    if (folder) await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}
