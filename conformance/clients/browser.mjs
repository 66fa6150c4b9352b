// What a person does with the page: node browser.mjs SCENARIO URL. conformance/checks/browser.py runs each.
import assert from "node:assert/strict";
import { main } from "./packages.mjs";
import { visit } from "./page.mjs";
import { asks, proxy, stream } from "./proxy.mjs";

const QUESTION = "What is the capital of Japan?";
const RIGHT = "The capital of Japan is Tokyo.";
const STORY = "Tell me a story about a fox.";

/** A visit through a proxy; `act` gets both. */
async function through(url, settings, act, options) {
  const between = await proxy(url, settings);
  try {
    return await visit(between.url, (it) => act(it, between), options);
  } finally {
    await between.close();
  }
}

/** Loads from the server alone under a strict policy, shows the model's card, streams the right answer, says how fast. */
async function answers(url) {
  const policy = (await fetch(url)).headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  const card = await (await fetch(`${url}/card`)).json();
  return through(url, { delay: 100 }, async (it) => {
    assert.equal(await it.page.innerText("h1"), card.name);
    await it.page.click("#card summary");
    const facts = await it.page.innerText("#facts");
    const verified = [card.verify.kl_mean.toPrecision(3), `${(100 * card.verify.same_top).toFixed(1)} %`];
    for (const fact of [card.architecture, "4 bits", `${card.context_length} tokens`, ...verified]) assert.ok(facts.includes(fact), `${fact}: ${facts}`);
    await it.page.click("#card summary");
    await it.page.evaluate(() => {
      window.seen = new Set();
      const look = () => window.seen.add(document.querySelector("article.assistant .text")?.textContent);
      new MutationObserver(look).observe(document.getElementById("log"), { childList: true, subtree: true });
    });
    assert.equal(await it.ask(QUESTION), RIGHT);
    const parts = (await it.page.evaluate(() => [...window.seen])).filter((text) => text && text !== RIGHT);
    assert.ok(parts.length >= 2 && parts.every((text) => RIGHT.startsWith(text)), `streamed: ${parts}`);
    assert.match(await it.figures(), /^\d+ tokens, \d+\.\d tokens\/s, first after \d+\.\d\d s$/);
    assert.equal(await it.page.innerText("#status"), `Model: ${RIGHT}`);
    await it.picture("light");
    return { requests: it.asked.length, parts: parts.length };
  });
}

/** An answer is stopped by the button and by Esc, stays as far as it was, and is made anew. */
async function stops(url) {
  return through(url, { delay: 40 }, async (it, between) => {
    for (const stop of [() => it.page.click("#stop"), () => it.page.keyboard.press("Escape")]) {
      await it.send(STORY);
      await it.page.waitForFunction(() => [...document.querySelectorAll("article.assistant .text")].at(-1)?.innerText.length > 12);
      await stop();
      await it.settled();
      assert.match(await it.figures(), /stopped$/);
    }
    const cut = await it.last();
    await it.page.waitForTimeout(300);
    assert.equal(await it.last(), cut, "it went on after it was stopped");
    between.settings.delay = 0;
    await it.page.click("#again");
    await it.settled();
    const whole = await it.last();
    assert.ok(whole.startsWith(cut) && whole.length > cut.length, `${cut} | ${whole}`);
    assert.equal((await it.turns()).length, 4);
    return { cut: cut.length, whole: whole.length };
  });
}

/** A name is remembered across turns, and the conversation survives a reload; a new one knows nothing of it. */
async function remembers(url) {
  return visit(url, async (it) => {
    await it.ask("My name is Ana.");
    await it.ask(QUESTION);
    assert.equal(await it.ask("What is my name?"), "Your name is Ana.");
    const turns = await it.turns();
    await it.page.reload();
    assert.deepEqual(await it.turns(), turns);
    assert.equal(await it.ask("What is my name?"), "Your name is Ana.");
    await it.page.click("#fresh");
    assert.deepEqual(await it.turns(), []);
    await it.page.reload();
    assert.deepEqual(await it.turns(), []);
    assert.notEqual(await it.ask("What is my name?"), "Your name is Ana.");
    return { turns: turns.length };
  });
}

/** Settings reach the server: few tokens cut the answer, instructions and temperature go along; a wrong one is shown. */
async function settings(url) {
  return visit(url, async (it) => {
    await it.page.click("#settings summary");
    await it.page.fill("#max_tokens", "3");
    await it.page.fill("#temperature", "0");
    await it.page.fill("#system", "You are Pebble.");
    const sent = it.page.waitForRequest((request) => request.method() === "POST");
    await it.ask(QUESTION);
    const body = (await sent).postDataJSON();
    assert.deepEqual([body.max_tokens, body.temperature, body.messages[0]], [3, 0, { role: "system", content: "You are Pebble." }]);
    assert.match(await it.figures(), /^3 tokens.*cut: no more tokens were allowed/);
    await it.page.fill("#temperature", "9");
    await it.page.click("#settings summary");
    await it.page.press("#question", "Enter");
    await it.send(QUESTION);
    await it.page.waitForSelector("#temperature:focus");
    assert.equal((await it.turns()).length, 2, "a wrong setting was sent");
    await it.page.fill("#temperature", "");
    await it.page.reload();
    assert.equal(await it.page.inputValue("#max_tokens"), "3");
    return {};
  });
}

/** Everything without a mouse: the order of the focus, that it is seen, and what the keys do. */
async function keyboard(url) {
  return through(url, { delay: 200 }, async (it) => {
    const { page } = it;
    const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.parentElement.id);
    const isSeen = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none");
    assert.equal(await focus(), "question");
    await page.keyboard.type("What is the capital");
    await page.keyboard.press("Shift+Enter");
    assert.equal(await page.inputValue("#question"), "What is the capital\n");
    await page.keyboard.press("Backspace");
    await page.keyboard.type(" of Japan?");
    await page.keyboard.press("Enter");
    await it.page.waitForSelector("#stop", { state: "visible" });
    await it.settled();
    assert.equal(await it.last(), RIGHT);
    assert.equal(await focus(), "question");
    const order = [];
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement === document.body)) continue;
      if (await focus() === "theme" && order.includes("theme")) break;
      order.push(await focus());
      assert.ok(await isSeen(), `the focus on ${order.at(-1)} cannot be seen`);
    }
    const expected = ["send", "again", "settings", "theme", "fresh", "card", "scroller", "question"];
    assert.deepEqual(order.slice(0, expected.length), expected);
    await page.focus("#again");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#stop:focus");
    await page.keyboard.press("Escape");
    await it.settled();
    assert.equal(await focus(), "question");
    await page.focus("#fresh");
    await page.keyboard.press("Space");
    assert.deepEqual(await it.turns(), []);
    return { stops: expected.length };
  });
}

/** Dark and light by the system and by the switch; 320 pixels wide, and as low as at 200 % zoom, without scrolling sideways. */
async function appearance(url) {
  const long = `${"w".repeat(300)}\n\n\`\`\`\n${"c".repeat(300)}\n\`\`\``;
  const instead = (request, response) => asks(request) && (stream(response, [long]), true);
  return through(url, { instead }, async (it) => {
    const { page } = it;
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await ground();
    assert.notEqual(light, dark);
    await page.click("#theme");
    assert.equal(await ground(), light);
    await page.reload();
    assert.equal(await ground(), light, "the choice is forgotten");
    await page.click("#theme");
    await page.emulateMedia({ colorScheme: "light" });
    assert.equal(await ground(), dark);
    await it.ask("How wide is this?".repeat(20).replaceAll(" ", ""));
    const below = await page.evaluate(() => { const view = document.getElementById("scroller"); return view.scrollHeight - view.scrollTop - view.clientHeight; });
    assert.ok(below <= 1, `the end of the answer is ${below} pixels below what is seen`);
    await it.picture("narrow");
    await page.click("#card summary");
    await page.click("#settings summary");
    const wide = await page.evaluate(() => {
      const views = [document.scrollingElement, document.getElementById("scroller")];
      return views.map((view) => view.scrollWidth - view.clientWidth);
    });
    await it.picture("narrow-open");
    assert.deepEqual(wide, [0, 0], "pixels beyond the edge");
    // All of it can still be reached when the window is low.
    await page.setViewportSize({ width: 320, height: 256 });
    for (const id of ["theme", "send", "max_tokens"]) {
      await page.locator(`#${id}`).scrollIntoViewIfNeeded();
      const box = await page.locator(`#${id}`).boundingBox();
      assert.ok(box.y >= -1 && box.y + box.height <= 257 && box.x >= 0 && box.x + box.width <= 320, `${id} is out of reach: ${JSON.stringify(box)}`);
    }
    return {};
  }, { width: 320, height: 640 });
}

/** What a model or a person writes is text, whatever it looks like; code is a block, and thoughts are folded. */
async function text(url) {
  const attack = `<img src="x" onerror="window.taken = 1"><script>window.taken = 1</script><a href="javascript:window.taken = 1">x</a>`;
  const said = ["<think>Hm, <b>let</b> me see.</th", "ink>", attack, "\n\n```html\n<b>code</b>\n``", "`\n\nOne.\nTwo."];
  const instead = (request, response) => asks(request) && (stream(response, said), true);
  return through(url, { instead }, async (it) => {
    await it.ask(attack);
    const log = it.page.locator("#log");
    assert.deepEqual(await it.page.locator("article.user .text").allInnerTexts(), [attack]);
    assert.equal(await log.locator("img, script, a, b").count(), 0, "text became elements");
    assert.equal(await it.page.evaluate(() => window.taken), undefined);
    assert.deepEqual(await log.locator(".assistant .text > p").allInnerTexts(), [attack, "One.\nTwo."]);
    assert.equal(await log.locator(".assistant pre").innerText(), "<b>code</b>");
    const thought = log.locator("details");
    assert.equal(await thought.getAttribute("open"), null);
    await thought.locator("summary").click();
    assert.ok((await thought.innerText()).includes("Hm, <b>let</b> me see."));
    await it.page.reload();
    assert.equal(await it.page.evaluate(() => window.taken), undefined);
    return {};
  });
}

/** No barrier that axe-core knows, in each state of the page, light and dark. */
async function accessibility(url) {
  const said = ["<think>Hm.</think>Some code:\n```\nlet x = 1;\n```\nThat is it."];
  const found = [];
  let rules = 0;
  const instead = (request, response) => asks(request) && (stream(response, said), true);
  for (const scheme of ["light", "dark"]) {
    await through(url, { instead }, async (it, between) => {
      const look = async (state) => {
        const { violations, ...count } = await it.barriers();
        rules = Math.max(rules, count.rules);
        found.push(...violations.map((words) => `${scheme}, ${state}: ${words}`));
      };
      await look("empty");
      await it.ask(QUESTION);
      for (const details of await it.page.locator("details").all()) await details.locator("summary").click();
      await look("all open");
      await it.picture(`open-${scheme}`);
      between.settings.delay = 400;
      between.settings.instead = () => false;
      await it.send(QUESTION);
      await it.page.waitForSelector("#stop", { state: "visible" });
      await look("answering");
      await it.page.keyboard.press("Escape");
      await it.settled();
      const refuse = (status) => (request, response) => asks(request) && (response.writeHead(status).end("{}"), true);
      for (const status of [500, 401]) {
        between.settings.instead = refuse(status);
        await it.ask(QUESTION);
        await it.page.waitForSelector("#log .notice");
        await look(`status ${status}`);
      }
    }, { scheme });
  }
  assert.deepEqual(found, []);
  return { states: 10, rules };
}

/** A busy server is asked again when it says; a broken answer, a server that is gone, a full context: in plain words. */
async function troubles(url) {
  let refused = 0;
  const busy = (request, response) => {
    if (!asks(request) || refused === 2) return false;
    refused += 1;
    response.writeHead(429, { "Retry-After": "1", "Content-Type": "application/json" }).end(`{"error":{"message":"busy"}}`);
    return true;
  };
  return through(url, { instead: busy }, async (it, between) => {
    await it.send(QUESTION);
    await it.page.waitForFunction(() => document.querySelector("article.assistant .figures")?.innerText.includes("asking again in 1 s"));
    await it.settled();
    assert.equal(await it.last(), RIGHT);
    assert.equal(refused, 2);
    await it.send("word ".repeat(3000));
    await it.page.waitForSelector("#log .notice");
    assert.deepEqual(await it.notices(), ["The conversation is longer than the model's context. Begin a new one."]);
    await it.page.click("#fresh");
    Object.assign(between.settings, { delay: 100, breakAfter: 8 });
    await it.send(STORY);
    await it.page.waitForSelector("#log .notice");
    assert.match((await it.notices())[0], /cannot be reached|broke off/);
    assert.ok((await it.last()).startsWith("Once"), "what had come is gone");
    Object.assign(between.settings, { delay: 0, breakAfter: Infinity });
    await it.page.click("#again");
    await it.settled();
    assert.deepEqual(await it.notices(), []);
    await between.close();
    await it.send(STORY);
    await it.page.waitForSelector("#log .notice");
    assert.deepEqual(await it.notices(), ["The server cannot be reached. Is anelith serve still running?"]);
    return { refused };
  });
}

/** The field for the key is there when the server wants one, and what was asked goes again with it. */
async function key(url) {
  const right = process.env.KEY;
  return visit(url, async (it) => {
    const field = it.page.locator("#key");
    if (!(await field.isVisible())) await it.ask(QUESTION);
    assert.ok(await field.isVisible());
    await field.fill("wrong");
    await it.send(QUESTION);
    await it.page.waitForFunction((question) => document.getElementById("question").value === question, QUESTION);
    await it.page.waitForSelector("#key:focus");
    await it.picture("key");
    await it.page.keyboard.press("Control+a");
    await it.page.keyboard.type(right);
    await it.page.keyboard.press("Enter");
    await it.page.waitForSelector("article.assistant");
    await it.settled();
    assert.equal(await it.last(), RIGHT);
    assert.deepEqual(await it.notices(), []);
    await it.page.reload();
    assert.equal(await it.ask(QUESTION), RIGHT);
    assert.ok(!(await field.isVisible()));
    return {};
  });
}

await main({ answers, stops, remembers, settings, keyboard, appearance, text, accessibility, troubles, key });
