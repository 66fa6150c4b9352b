// A proxy that is as slow, busy or broken as a scenario wants; else what comes and goes is the server's.
import http from "node:http";

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Listens on a free port of this machine and passes everything on to `target`.
 *
 * `delay`: milliseconds between the events of a stream, of which the model at hand makes a thousand a second.
 * `instead(request, response)`: answers itself when it returns true.
 * `breakAfter`: the connection is cut after so many events.
 */
export async function proxy(target, { delay = 0, instead = () => false, breakAfter = Infinity } = {}) {
  const settings = { delay, instead, breakAfter };
  const server = http.createServer((request, response) => {
    if (settings.instead(request, response)) return;
    const { method, url, headers } = request;
    const onward = http.request(new URL(url, target), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      pass(answer, response, settings).catch(() => response.destroy());
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    settings,
    close: () => new Promise((done) => { server.close(done); server.closeAllConnections(); }),
  };
}

async function pass(answer, response, settings) {
  if (!answer.headers["content-type"]?.startsWith("text/event-stream")) { answer.pipe(response); return; }
  let [rest, count] = ["", 0];
  answer.setEncoding("utf8");
  for await (const text of answer) {
    const events = (rest + text).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (count++ >= settings.breakAfter) { response.destroy(); return; }
      response.write(`${event}\n\n`);
      await wait(settings.delay);
    }
  }
  response.end(rest);
}

/** An answer of the form that the server streams, with these texts in it: for what the model at hand does not say. */
export function stream(response, texts) {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const choice = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }] });
  const events = [...texts.map((content) => choice({ content })), choice({}, "stop")];
  response.end(`${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n`);
}

/** Whether a request asks for an answer. */
export const asks = (request) => request.method === "POST" && request.url === "/v1/chat/completions";
