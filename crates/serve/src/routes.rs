//! The endpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY,
    HeaderName, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::answering::{answer, ask, refusal, typed};
use crate::app::App;
use crate::body::Watched;
use crate::entry::{Entry, UnderWay};
use crate::metrics::Load;
use crate::page::PAGE;
use crate::problem::Problem;
use crate::protocol::Ask;

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
