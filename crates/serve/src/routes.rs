//! The endpoints.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anelith_chat::Request as Continue;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::app::{App, chance, now};
use crate::body::{Stream, Watched, read};
use crate::entry::{Entry, UnderWay};
use crate::intake::{Event, Job};
use crate::metrics::Load;
use crate::page::PAGE;
use crate::problem::Problem;
use crate::protocol::{Ask, Input};
use crate::reply::{Answer, Reply};

/// How many events of an answer wait for a client that does not read; then its turns are left out.
const EVENTS: usize = 64;

/// All endpoints.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/card", get(card))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// An endpoint's name in the metrics, and what can be done with it.
fn endpoint(path: &str) -> (&'static str, Option<&'static str>) {
    const READ: Option<&str> = Some("GET, HEAD, OPTIONS");
    const ASK: Option<&str> = Some("POST, OPTIONS");
    match path {
        "/" => ("page", READ),
        "/health" => ("health", READ),
        "/metrics" => ("metrics", READ),
        "/card" => ("card", READ),
        "/v1/models" => ("models", READ),
        "/v1/chat/completions" => ("chat.completions", ASK),
        "/v1/completions" => ("completions", ASK),
        path if path.strip_prefix("/v1/models/").is_some_and(|id| !id.is_empty()) => ("models", READ),
        _ => ("other", None),
    }
}

/// What happens to every request: it is written down, checked, answered, and its answer gets the headers that all have.
async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let path = request.uri().path().to_owned();
    let (label, methods) = endpoint(&path);
    let under_way = request.extensions_mut().remove::<UnderWay>();
    let (metrics, tell) = (Arc::clone(&app.metrics), Arc::clone(&app.tell));
    let entry = Entry::new(metrics, tell, method.as_str(), &path, label, under_way);
    let mut response = match app.guard.check(&method, &path, &headers) {
        Err(problem) => refusal(&problem),
        Ok(()) if method == Method::OPTIONS => options(&app, methods, &path, &headers),
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&entry));
            next.run(request).await
        }
    };
    finish(&app, &headers, methods, &mut response);
    entry.status(response.status().as_u16());
    if method == Method::HEAD {
        // The connection takes no body, so nobody would see its end.
        entry.sent();
    }
    response.map(|body| Body::new(Watched::new(body, entry)))
}

fn finish(app: &App, asked: &HeaderMap, methods: Option<&'static str>, response: &mut Response) {
    const NO_REFERRER: (HeaderName, &str) = (HeaderName::from_static("referrer-policy"), "no-referrer");
    const NO_SNIFF: (HeaderName, &str) = (HeaderName::from_static("x-content-type-options"), "nosniff");
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Some(methods) = methods
    {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    }
    let headers = response.headers_mut();
    for (name, value) in [NO_REFERRER, NO_SNIFF] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if app.guard.has_cors() {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = app.guard.cors(asked).and_then(|origin| HeaderValue::from_str(origin).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// What can be done with a path; for a browser that asks on behalf of a page, whether the page may.
fn options(app: &App, methods: Option<&'static str>, path: &str, asked: &HeaderMap) -> Response {
    let Some(methods) = methods else { return refusal(&Problem::no_path("OPTIONS", path)) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    if app.guard.cors(asked).is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let wanted = wanted.unwrap_or(HeaderValue::from_static("authorization, content-type"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    response
}

fn refusal(problem: &Problem) -> Response {
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

fn typed(sort: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(sort));
    response
}

fn answer(body: &Value) -> Response {
    typed("application/json", body.to_string())
}

async fn no_path(request: Request) -> Response {
    refusal(&Problem::no_path(request.method().as_str(), request.uri().path()))
}

async fn no_method(request: Request) -> Response {
    refusal(&Problem::no_method(request.method().as_str(), request.uri().path()))
}

async fn page(State(app): State<Arc<App>>) -> Response {
    let mut response = typed("text/html; charset=utf-8", PAGE);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&app.policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let (busy, waiting) = app.intake.load();
    let status = if app.intake.is_closed() {
        "stopping"
    } else if app.intake.is_over() {
        "failed"
    } else {
        "ready"
    };
    let mut response = answer(&json!({
        "status": status,
        "model": app.card.name,
        "slots": app.settings.slots,
        "slots_busy": busy,
        "queue": waiting,
        "queue_limit": app.settings.queue,
    }));
    if status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let (busy, waiting) = app.intake.load();
    let connections = app.connections.load(Ordering::Relaxed);
    let load = Load { slots: app.settings.slots, busy, waiting, connections };
    typed("text/plain; version=0.0.4; charset=utf-8", app.metrics.text(load))
}

async fn card(State(app): State<Arc<App>>) -> Response {
    answer(&app.card.json(app.settings.max_tokens))
}

fn described(app: &App) -> Value {
    json!({"id": app.card.name, "object": "model", "created": app.created, "owned_by": "anelith"})
}

async fn models(State(app): State<Arc<App>>) -> Response {
    answer(&json!({"object": "list", "data": [described(&app)]}))
}

async fn model(State(app): State<Arc<App>>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = id.map_or("one whose name is not UTF-8".to_owned(), |Path(id)| id);
    match id == app.card.name {
        true => answer(&described(&app)),
        false => refusal(&Problem::no_model(&id, &app.card.name)),
    }
}

async fn chat(
    State(app): State<Arc<App>>,
    Extension(entry): Extension<Arc<Entry>>,
    request: Request,
) -> Response {
    ask(app, entry, request, Ask::chat).await
}

async fn completions(
    State(app): State<Arc<App>>,
    Extension(entry): Extension<Arc<Entry>>,
    request: Request,
) -> Response {
    ask(app, entry, request, Ask::completion).await
}

/// Reads, queues and answers a request.
async fn ask(
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
