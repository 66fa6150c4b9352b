// `anelith serve` as OpenAI's package for JavaScript sees it: node openai.mjs SCENARIO URL.
import assert from "node:assert/strict";
import { load, main } from "./packages.mjs";

const OpenAI = load("openai");
const QUESTION = "What is the capital of Japan?";
const RIGHT = "The capital of Japan is Tokyo.";

const user = (content) => [{ role: "user", content }];
const client = (url, options) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0, ...options });

/** A client and the name of the only model, for `act`. */
async function asking(url, act, options) {
  const openai = client(url, options);
  const [{ id: model }] = (await openai.models.list()).data;
  return act(openai, model, (body) => openai.chat.completions.create({ model, messages: user(QUESTION), temperature: 0, ...body }));
}

async function metrics(url) {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split("\n").filter((line) => line && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => { const at = line.lastIndexOf(" "); return [line.slice(0, at), Number(line.slice(at))]; }));
}

/** Tokens of answers so far, when none is under way any more. */
async function generated(url) {
  for (const end = Date.now() + 60_000; ;) {
    const now = await metrics(url);
    if (now.anelith_slots_busy + now.anelith_queue_length === 0) return now.anelith_generated_tokens_total;
    assert.ok(Date.now() < end, "a minute later an answer is still under way");
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function text(stream) {
  let all = "";
  for await (const piece of stream) all += piece.choices[0]?.delta?.content ?? piece.choices[0]?.text ?? "";
  return all;
}

const models = (url) => asking(url, async (openai, model) => {
  assert.equal((await openai.models.retrieve(model)).id, model);
  await assert.rejects(openai.models.retrieve("gpt-4o"), OpenAI.NotFoundError);
  return { model };
});

const chat = (url) => asking(url, async (openai, model, ask) => {
  const { choices: [choice], usage } = await ask({});
  assert.deepEqual([choice.message.content, choice.message.role, choice.finish_reason], [RIGHT, "assistant", "stop"]);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  const cut = await ask({ max_tokens: 2 });
  assert.deepEqual([cut.choices[0].finish_reason, cut.usage.completion_tokens], ["length", 2]);
  return { tokens: usage.total_tokens };
});

const stream = (url) => asking(url, async (openai, model, ask) => {
  assert.equal(await text(await ask({ stream: true })), RIGHT);
  const pieces = [];
  for await (const piece of await ask({ stream: true, stream_options: { include_usage: true } })) pieces.push(piece);
  const last = pieces.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0 && pieces.every((piece) => !piece.usage));
  const runner = openai.chat.completions.stream({ model, messages: user(QUESTION), temperature: 0 });
  assert.equal(await runner.finalContent(), RIGHT);
  return { pieces: pieces.length };
});

const stop = (url) => asking(url, async (openai, model, ask) => {
  for (const end of [" of", "f J", "okyo."]) {
    const right = RIGHT.slice(0, RIGHT.indexOf(end));
    assert.equal((await ask({ stop: end })).choices[0].message.content, right);
    assert.equal(await text(await ask({ stop: [end], stream: true })), right);
  }
  return { stops: 3 };
});

const seed = (url) => asking(url, async (openai, model, ask) => {
  const answers = [];
  for (const seed of [1, 2, 3, 1, 2, 3]) {
    const { choices: [choice] } = await ask({ messages: user("Tell me a story about a fox."), temperature: 1, seed });
    answers.push(choice.message.content);
  }
  assert.deepEqual(answers.slice(0, 3), answers.slice(3));
  assert.ok(new Set(answers).size > 1);
  return { answers: new Set(answers).size };
});

const logprobs = (url) => asking(url, async (openai, model, ask) => {
  const { content } = (await ask({ logprobs: true, top_logprobs: 3 })).choices[0].logprobs;
  assert.equal(Buffer.from(content.flatMap((token) => token.bytes)).toString(), RIGHT);
  assert.ok(content.every((token) => token.top_logprobs.length === 3 && token.logprob <= 0));
  return { tokens: content.length };
});

const errors = (url) => asking(url, async (openai, model, ask) => {
  const wrong = [
    [{ model: "gpt-4o" }, OpenAI.NotFoundError, "model_not_found", "model"],
    [{ temperature: 3 }, OpenAI.BadRequestError, undefined, "temperature"],
    [{ tools: [{ type: "function", function: { name: "f" } }] }, OpenAI.BadRequestError, undefined, "tools"],
    [{ messages: user("word ".repeat(2000)) }, OpenAI.BadRequestError, "context_length_exceeded", "messages"],
  ];
  for (const [body, kind, code, param] of wrong) {
    const isRight = (error) => error instanceof kind && (!code || error.code === code) && error.param === param;
    await assert.rejects(ask(body), isRight, JSON.stringify(body).slice(0, 60));
  }
  return { wrong: wrong.length };
});

async function key(url) {
  await assert.rejects(client(url).models.list(), OpenAI.AuthenticationError);
  return asking(url, async (openai, model, ask) => {
    assert.equal((await ask({})).choices[0].message.content, RIGHT);
  }, { apiKey: "the-right-key" });
}

const busy = (url) => asking(url, async (openai, model) => {
  const body = { model, messages: user("Count to 15."), temperature: 0 };
  const right = (await openai.chat.completions.create(body)).choices[0].message.content;
  const results = await Promise.allSettled(Array.from({ length: 16 }, () => openai.chat.completions.create(body)));
  const refused = results.filter((result) => result.status === "rejected");
  assert.ok(refused.length > 0 && refused.length < 16, `${refused.length} refused`);
  assert.ok(refused.every((result) => result.reason instanceof OpenAI.RateLimitError), String(refused[0].reason));
  assert.equal((await metrics(url)).anelith_rate_limited_total, refused.length);
  const patient = client(url, { maxRetries: 50 });
  const answers = await Promise.all(Array.from({ length: 16 }, () => patient.chat.completions.create(body)));
  assert.deepEqual([...new Set(answers.map((answer) => answer.choices[0].message.content))], [right]);
  return { refused: refused.length };
});

const completions = (url) => asking(url, async (openai, model) => {
  const body = { model, prompt: `<|im_start|>user\n${QUESTION}<|im_end|>\n<|im_start|>assistant\n`, temperature: 0, max_tokens: 60 };
  const whole = (await openai.completions.create(body)).choices[0].text;
  assert.equal(whole.trim(), RIGHT);
  assert.equal(await text(await openai.completions.create({ ...body, stream: true })), whole);
  return {};
});

const disconnect = (url) => asking(url, async (openai, model, ask) => {
  // Both ids that end an answer, so that it goes on until it may not.
  const endless = { logit_bias: { 0: -100, 2: -100 } };
  const whole = (await ask(endless)).usage.completion_tokens;
  const before = await generated(url);
  for await (const piece of await ask({ ...endless, stream: true })) if (piece.choices[0].delta.content) break;
  const streamed = await generated(url) - before;
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  const given = openai.chat.completions.create({ model, messages: user(QUESTION), temperature: 0, ...endless }, { signal: controller.signal });
  await assert.rejects(given, OpenAI.APIUserAbortError);
  const unread = await generated(url) - before - streamed;
  assert.ok(Math.max(streamed, unread) < whole / 2, `${streamed} and ${unread} of ${whole} tokens were made for nobody`);
  return { streamed, unread, whole };
});

await main({ models, chat, stream, stop, seed, logprobs, errors, key, busy, completions, disconnect });
