//! From a request for an answer to the answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anelith_chat::{Request as Continue, chance};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::app::{App, now};
use crate::body::{Stream, read};
use crate::entry::Entry;
use crate::intake::{Event, Job};
use crate::problem::Problem;
use crate::protocol::{Ask, Input};
use crate::reply::{Answer, Reply};

/// How many events of an answer wait for a client that does not read; then its turns are left out.
const EVENTS: usize = 64;

/// Reads, queues and answers a request.
pub(crate) async fn ask(
    app: Arc<App>,
    entry: Arc<Entry>,
    request: Request,
    parse: fn(&[u8]) -> Result<Ask, Problem>,
) -> Response {
    let deadline = entry.begun() + app.settings.timeout;
    let asked = async {
        check_type(request.headers())?;
        let bytes = body(&app, request.into_body()).await?;
        let place = app.intake.enter()?;
        let prepared = prepare(&app, bytes, parse, entry.begun()).await?;
        drop(place);
        let Prepared { reply, jobs, receiver, echoes, stream } = prepared;
        let count = jobs.len();
        app.intake.admit(jobs)?;
        match stream {
            true => {
                let time = (deadline, app.settings.timeout);
                begin(Stream::new(receiver, reply, (count, echoes), time, Arc::clone(&entry))).await
            }
            false => Ok(answer(&collect(receiver, &reply, (count, echoes), &entry).await?)),
        }
    };
    let done = in_time(asked, deadline, app.settings.timeout.as_secs()).await;
    done.unwrap_or_else(|problem| refusal(&problem))
}

/// The body of a request. One that is not there yet when the server is to stop is not waited for.
async fn body(app: &App, body: Body) -> Result<Vec<u8>, Problem> {
    let mut stops = app.stops.clone();
    tokio::select! {
        bytes = read(body, app.settings.max_body, app.settings.body_timeout) => bytes,
        _ = stops.wait_for(|times| *times > 0) => Err(Problem::stopping()),
    }
}

async fn in_time(
    work: impl Future<Output = Result<Response, Problem>>,
    deadline: Instant,
    seconds: u64,
) -> Result<Response, Problem> {
    timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(Problem::timeout(seconds)))
}

/// Other web pages can send forms and text without asking, but no JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let sort = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let sort = sort.split(';').next().unwrap_or_default().trim();
    if sort.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Problem::not_json()) }
}

/// A request that can be queued.
struct Prepared {
    reply: Reply,
    jobs: Vec<Job>,
    receiver: Receiver<(usize, Event)>,
    echoes: Vec<String>,
    stream: bool,
}

/// Reads the request, away from the threads that serve connections: long texts take their time. A client that goes away
/// before its turn leaves the line.
async fn prepare(
    app: &Arc<App>,
    bytes: Vec<u8>,
    parse: fn(&[u8]) -> Result<Ask, Problem>,
    arrived: Instant,
) -> Result<Prepared, Problem> {
    let Ok(_turn) = app.readers.acquire().await else { return Err(Problem::stopping()) };
    let app = Arc::clone(app);
    let prepared = spawn_blocking(move || parse(&bytes).and_then(|ask| jobs(&app, ask, arrived))).await;
    prepared.unwrap_or_else(|_| Err(Problem::internal("the request could not be read")))
}

fn jobs(app: &App, ask: Ask, arrived: Instant) -> Result<Prepared, Problem> {
    if let Some(other) = ask.model.as_ref().filter(|name| **name != app.card.name) {
        return Err(Problem::no_model(other, &app.card.name));
    }
    if app.card.has_argmax && ask.logprobs.is_some() {
        let why = "the model tells no probabilities; convert it without --argmax";
        return Err(Problem::unsupported("logprobs", why));
    }
    let sampling = ask.sampling.apply(&app.card.sampling, app.vocab_size, app.card.has_argmax, chance())?;
    let max_tokens = limit(app, &ask)?;
    let is_chat = matches!(ask.input, Input::Chat { .. });
    let (prompts, echoes) = tokens(app, &ask.input)?;
    let (sender, receiver) = channel(EVENTS.max(prompts.len() * 2));
    let job = |(index, prompt): (usize, Vec<u32>)| Job {
        request: Continue {
            prompt,
            max_tokens,
            stop: app.voice.tokenizer().stop_ids().clone(),
            sampling: sampling.clone(),
        },
        stops: ask.stop.clone(),
        logprobs: ask.logprobs,
        index,
        arrived,
        sender: sender.clone(),
    };
    let jobs = prompts.into_iter().enumerate().map(job).collect();
    let prefix = if is_chat { "chatcmpl" } else { "cmpl" };
    let reply = Reply {
        id: format!("{prefix}-{:016x}", chance()),
        created: now(),
        model: app.card.name.clone(),
        fingerprint: app.fingerprint.clone(),
        is_chat,
        has_logprobs: ask.logprobs.is_some(),
        include_usage: ask.include_usage,
    };
    Ok(Prepared { reply, jobs, receiver, echoes, stream: ask.stream })
}

/// The most tokens of the answer.
fn limit(app: &App, ask: &Ask) -> Result<usize, Problem> {
    match (ask.max_tokens, app.settings.max_tokens) {
        (Some(wanted), Some(most)) if wanted > most => {
            let message = format!(
                "{} is too large: {wanted}. This server gives at most {most} tokens.",
                ask.max_tokens_field
            );
            Err(Problem::bad("invalid_value", message).of(ask.max_tokens_field))
        }
        (wanted, most) => Ok(wanted.or(most).unwrap_or(usize::MAX)),
    }
}

/// The tokens of each prompt; what is to be repeated of them.
fn tokens(app: &App, input: &Input) -> Result<(Vec<Vec<u32>>, Vec<String>), Problem> {
    let check = |param: &str, ids: Vec<u32>| {
        if ids.is_empty() {
            return Err(Problem::value(param, "a prompt of at least one token", "an empty one"));
        }
        if ids.len() > app.card.context_length {
            return Err(Problem::too_long(param, ids.len(), app.card.context_length));
        }
        match ids.iter().find(|id| **id as usize >= app.vocab_size) {
            Some(id) => Err(Problem::value(param, format!("token ids below {}", app.vocab_size), id)),
            None => Ok(ids),
        }
    };
    match input {
        Input::Chat { turns, enable_thinking } => {
            let ids = app.voice.conversation(turns, *enable_thinking)?;
            Ok((vec![check("messages", ids)?], Vec::new()))
        }
        Input::Completion { prompts, echo } => {
            if prompts.len() > app.intake.capacity() {
                let most = app.intake.capacity();
                return Err(Problem::value("prompt", format!("at most {most} prompts"), prompts.len()));
            }
            let ids = prompts.iter().map(|prompt| check("prompt", app.voice.prompt(prompt)?));
            let ids = ids.collect::<Result<_, _>>()?;
            let echoes = prompts.iter().filter(|_| *echo).map(|prompt| app.voice.text(prompt));
            Ok((ids, echoes.collect::<Result<_, _>>()?))
        }
    }
}

/// Waits for the first event, which may be a refusal, and answers with the rest as it comes.
async fn begin(mut stream: Stream) -> Result<Response, Problem> {
    stream.first().await?;
    let mut response = typed("text/event-stream; charset=utf-8", Body::new(stream));
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Waits for all answers.
async fn collect(
    mut receiver: Receiver<(usize, Event)>,
    reply: &Reply,
    (count, echoes): (usize, Vec<String>),
    entry: &Entry,
) -> Result<Value, Problem> {
    let mut answers = vec![Answer::default(); count];
    for (answer, echo) in answers.iter_mut().zip(echoes) {
        answer.text = echo;
    }
    let mut open = count;
    while open > 0 {
        let Some((index, event)) = receiver.recv().await else {
            return Err(Problem::internal("the answer broke off"));
        };
        match (answers.get_mut(index), event) {
            (Some(answer), Event::Part(part)) => answer.push(part),
            (Some(answer), Event::Done(usage)) => {
                answer.usage = Some(usage);
                open -= 1;
                entry.usage(usage);
            }
            (_, Event::Failed(problem)) => return Err(problem),
            _ => {}
        }
    }
    Ok(reply.whole(&answers))
}

/// The answer to a request that is refused.
pub(crate) fn refusal(problem: &Problem) -> Response {
    let mut response = answer(&problem.body());
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A body of this type.
pub(crate) fn typed(sort: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(sort));
    response
}

/// A body of JSON.
pub(crate) fn answer(body: &Value) -> Response {
    typed("application/json", body.to_string())
}
