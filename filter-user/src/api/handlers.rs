//! From HTTP to [`Controller`] calls and back. Every call runs on a blocking thread: it waits for the engine's lock
//! and for the kernel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Method, Uri};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::TryStreamExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::controller::Controller;
use super::error::ApiError;
use super::export::Exported;
use super::extract::{Json, Path, Query};
use super::packets::MAX_PACKET_BYTES;
use super::peer::Peer;
use super::problem::ErrorBody;
use super::types::{
    AddRequest, Applied, ApplyRequest, AttachRequest, Attached, BanList, ChangeRequest, Changed,
    CheckRequest, ConfirmRequest, DetachRequest, Detached, ExplainRequest, Explanation, Health, ImportQuery,
    Imported, LiftRequest, Lifted, PolicyCheck, PolicyList, PolicyText, RemoveRequest, RollbackRequest,
    RuleList, SetChanged, SetEntries, SetList, SetRemoved, Stats, Status, TestRequest, Tested, TwinEnded,
    TwinMade, TwinRequest, TwinShown, TwinTotals,
};

/// The description of the API that `/v1/openapi.json` serves.
#[derive(OpenApi)]
#[openapi(info(
    title = "Levee",
    description = "Controls the XDP flood filter on this host. Served on a unix socket: \
                   `curl --unix-socket /run/levee/levee.sock http://levee/v1/status`."
))]
struct Description;

type Shared = State<Arc<Controller>>;
type Answer<T> = Result<axum::Json<T>, ApiError>;

/// Every path, without layers and state.
pub fn router() -> Router<Arc<Controller>> {
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health))
        .routes(routes!(status))
        .routes(routes!(stats))
        .routes(routes!(attach))
        .routes(routes!(detach))
        .routes(routes!(test))
        .routes(routes!(list_sets))
        .routes(routes!(set_entries, remove_set))
        .routes(routes!(add))
        .routes(routes!(remove))
        .routes(routes!(change))
        .routes(routes!(flush))
        .routes(routes!(import))
        .routes(routes!(export))
        .routes(routes!(policy))
        .routes(routes!(policies))
        .routes(routes!(check_policy))
        .routes(routes!(apply_policy))
        .routes(routes!(confirm_policy))
        .routes(routes!(rollback_policy))
        .routes(routes!(rules))
        .routes(routes!(bans))
        .routes(routes!(lift_bans))
        .routes(routes!(explain))
        .routes(routes!(make_twin))
        .routes(routes!(ask_twin))
        .routes(routes!(show_twin))
        .routes(routes!(twin_totals, end_twin))
        .split_for_parts();
    let description = axum::Json(description);
    router
        .route("/v1/openapi.json", get(move || std::future::ready(description.clone())))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::NoSuchPath { path: uri.path().to_owned() }
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::NoSuchMethod { method: method.to_string(), path: uri.path().to_owned() }
}

/// Runs `call` where it may block.
async fn blocking<T: Send + 'static>(
    controller: Arc<Controller>,
    call: impl FnOnce(&Controller) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    // A panic there has poisoned a lock or harmed nothing; either way this request alone fails.
    tokio::task::spawn_blocking(move || call(&controller)).await.map_err(|_| ApiError::Panicked)?
}

/// Whether a daemon answers, and which.
#[utoipa::path(get, path = "/v1/health", responses((status = OK, body = Health)))]
async fn health() -> axum::Json<Health> {
    axum::Json(Health::default())
}

/// The daemon, its tables and sets, and the interfaces that the filter is on.
#[utoipa::path(get, path = "/v1/status", responses((status = OK, body = Status), (status = "5XX", body = ErrorBody)))]
async fn status(State(controller): Shared) -> Answer<Status> {
    blocking(controller, Controller::status).await.map(axum::Json)
}

/// Packets and bytes by interface, verdict and reason.
#[utoipa::path(get, path = "/v1/stats", responses((status = OK, body = Stats), (status = "5XX", body = ErrorBody)))]
async fn stats(State(controller): Shared) -> Answer<Stats> {
    blocking(controller, Controller::stats).await.map(axum::Json)
}

/// Puts the filter on interfaces: on all of them, or on none.
#[utoipa::path(post, path = "/v1/attach", request_body = AttachRequest,
    responses((status = OK, body = Attached), (status = "4XX", body = ErrorBody)))]
async fn attach(State(controller): Shared, Json(request): Json<AttachRequest>) -> Answer<Attached> {
    blocking(controller, move |controller| controller.attach(&request)).await.map(axum::Json)
}

/// Takes the filter off interfaces.
#[utoipa::path(post, path = "/v1/detach", request_body = DetachRequest,
    responses((status = OK, body = Detached), (status = "4XX", body = ErrorBody)))]
async fn detach(State(controller): Shared, Json(request): Json<DetachRequest>) -> Answer<Detached> {
    blocking(controller, move |controller| controller.detach(&request)).await.map(axum::Json)
}

/// Asks whether packets from these sources are dropped, from all of each prefix, from some or from none.
#[utoipa::path(post, path = "/v1/test", request_body = TestRequest,
    responses((status = OK, body = Tested), (status = "4XX", body = ErrorBody)))]
async fn test(State(controller): Shared, Json(request): Json<TestRequest>) -> Answer<Tested> {
    blocking(controller, move |controller| controller.test(&request)).await.map(axum::Json)
}

/// Every set, without its prefixes.
#[utoipa::path(get, path = "/v1/sets", responses((status = OK, body = SetList)))]
async fn list_sets(State(controller): Shared) -> Answer<SetList> {
    blocking(controller, Controller::sets).await.map(axum::Json)
}

/// One set with its prefixes.
#[utoipa::path(get, path = "/v1/sets/{name}", params(("name" = String, Path)),
    responses((status = OK, body = SetEntries), (status = NOT_FOUND, body = ErrorBody)))]
async fn set_entries(State(controller): Shared, Path(name): Path<String>) -> Answer<SetEntries> {
    blocking(controller, move |controller| controller.entries(&name)).await.map(axum::Json)
}

/// Removes a set and every prefix of it.
#[utoipa::path(delete, path = "/v1/sets/{name}", params(("name" = String, Path)),
    responses((status = OK, body = SetRemoved), (status = NOT_FOUND, body = ErrorBody)))]
async fn remove_set(State(controller): Shared, Path(name): Path<String>) -> Answer<SetRemoved> {
    blocking(controller, move |controller| controller.remove_set(&name)).await.map(axum::Json)
}

/// Adds prefixes to a set: all of them, or none when one of them is bad. Packets meet many of them one after the other,
/// within milliseconds.
#[utoipa::path(post, path = "/v1/sets/{name}/add", params(("name" = String, Path)), request_body = AddRequest,
    responses((status = OK, body = Changed), (status = "4XX", body = ErrorBody)))]
async fn add(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    Json(request): Json<AddRequest>,
) -> Answer<Changed> {
    blocking(controller, move |controller| controller.add(&name, request, &peer)).await.map(axum::Json)
}

/// Removes prefixes from a set: exactly these, not what they cover.
#[utoipa::path(post, path = "/v1/sets/{name}/remove", params(("name" = String, Path)), request_body = RemoveRequest,
    responses((status = OK, body = Changed), (status = "4XX", body = ErrorBody)))]
async fn remove(
    State(controller): Shared,
    Path(name): Path<String>,
    Json(request): Json<RemoveRequest>,
) -> Answer<Changed> {
    blocking(controller, move |controller| controller.remove(&name, &request)).await.map(axum::Json)
}

/// Adds prefixes to a set and removes others from it: all of it, or nothing.
///
/// That is what is recorded and answered. The filter is changed in place, entry by entry, the additions before the
/// removals, so for up to some tenths of a second packets may meet a part of it; only `import` with `replace`, `flush` and
/// the removal of a set are one step for packets, too. Should the daemon be killed meanwhile, that part stays in force
/// until the next one starts, which brings the filter to what is recorded: the entries of before, or of after.
#[utoipa::path(post, path = "/v1/sets/{name}/change", params(("name" = String, Path)), request_body = ChangeRequest,
    responses((status = OK, body = SetChanged), (status = "4XX", body = ErrorBody)))]
async fn change(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    Json(request): Json<ChangeRequest>,
) -> Answer<SetChanged> {
    blocking(controller, move |controller| controller.change(&name, request, &peer)).await.map(axum::Json)
}

/// Removes every prefix of a set, and keeps the set.
#[utoipa::path(post, path = "/v1/sets/{name}/flush", params(("name" = String, Path)),
    responses((status = OK, body = SetRemoved), (status = NOT_FOUND, body = ErrorBody)))]
async fn flush(State(controller): Shared, Path(name): Path<String>) -> Answer<SetRemoved> {
    blocking(controller, move |controller| controller.flush(&name)).await.map(axum::Json)
}

/// One set as a list: text with one prefix a line, which an import takes again.
#[utoipa::path(get, path = "/v1/sets/{name}/export", params(("name" = String, Path)),
    responses((status = OK, body = String, content_type = "text/plain"), (status = NOT_FOUND, body = ErrorBody)))]
async fn export(State(controller): Shared, Path(name): Path<String>) -> Result<Exported, ApiError> {
    blocking(controller, move |controller| controller.export(&name)).await
}

/// Imports a list into a set: all of it, or nothing; with `dry_run`, tells what that would do. The body is the list
/// itself, as text or gzip. With `replace` it is one step for packets, too; otherwise they may meet a part of it, as of a
/// `change`.
#[utoipa::path(post, path = "/v1/sets/{name}/import", params(("name" = String, Path), ImportQuery),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = OK, body = Imported), (status = "4XX", body = ErrorBody)))]
async fn import(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Answer<Imported> {
    let list = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let list = SyncIoBridge::new(list);
    blocking(controller, move |controller| controller.import(&name, query, list, &peer)).await.map(axum::Json)
}

/// The policy in force.
#[utoipa::path(get, path = "/v1/policy", responses((status = OK, body = PolicyText)))]
async fn policy(State(controller): Shared) -> Answer<PolicyText> {
    blocking(controller, Controller::policy).await.map(axum::Json)
}

/// The policies that were in force and are kept, the oldest first.
#[utoipa::path(get, path = "/v1/policy/history", responses((status = OK, body = PolicyList)))]
async fn policies(State(controller): Shared) -> Answer<PolicyList> {
    blocking(controller, Controller::policies).await.map(axum::Json)
}

/// Tells what a policy would take and whom it would cut off. Changes nothing.
#[utoipa::path(post, path = "/v1/policy/check", request_body = CheckRequest,
    responses((status = OK, body = PolicyCheck), (status = "4XX", body = ErrorBody)))]
async fn check_policy(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Json(request): Json<CheckRequest>,
) -> Answer<PolicyCheck> {
    blocking(controller, move |controller| controller.check_policy(&request, &peer)).await.map(axum::Json)
}

/// Puts a policy in force: in one step for the packets of each interface. With `confirm`, what was before is in force again
/// unless it is confirmed in time.
#[utoipa::path(post, path = "/v1/policy/apply", request_body = ApplyRequest,
    responses((status = OK, body = Applied), (status = "4XX", body = ErrorBody)))]
async fn apply_policy(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Json(request): Json<ApplyRequest>,
) -> Answer<Applied> {
    blocking(controller, move |controller| controller.apply_policy(&request, &peer)).await.map(axum::Json)
}

/// Keeps the policy that waits to be confirmed. Where it cuts off the SSH session that this comes from, it has to be forced.
#[utoipa::path(post, path = "/v1/policy/confirm", request_body = ConfirmRequest,
    responses((status = OK, body = Applied), (status = "4XX", body = ErrorBody)))]
async fn confirm_policy(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    request: Option<Json<ConfirmRequest>>,
) -> Answer<Applied> {
    let request = request.map_or_else(ConfirmRequest::default, |Json(request)| request);
    blocking(controller, move |controller| controller.confirm_policy(request, &peer)).await.map(axum::Json)
}

/// Gives up the policy that waits to be confirmed, or goes back to one that was in force before.
#[utoipa::path(post, path = "/v1/policy/rollback", request_body = RollbackRequest,
    responses((status = OK, body = Applied), (status = "4XX", body = ErrorBody)))]
async fn rollback_policy(
    State(controller): Shared,
    Extension(peer): Extension<Peer>,
    Json(request): Json<RollbackRequest>,
) -> Answer<Applied> {
    blocking(controller, move |controller| controller.rollback_policy(&request, &peer)).await.map(axum::Json)
}

/// The rules of the policy in force, with what they counted.
#[utoipa::path(get, path = "/v1/rules", responses((status = OK, body = RuleList), (status = "5XX", body = ErrorBody)))]
async fn rules(State(controller): Shared) -> Answer<RuleList> {
    blocking(controller, Controller::rules).await.map(axum::Json)
}

/// The sources that rules have banned, and until when.
#[utoipa::path(get, path = "/v1/bans", responses((status = OK, body = BanList), (status = "5XX", body = ErrorBody)))]
async fn bans(State(controller): Shared) -> Answer<BanList> {
    blocking(controller, Controller::bans).await.map(axum::Json)
}

/// Ends bans now: those of some sources, or all. An address that is none is refused, and nothing was changed.
#[utoipa::path(post, path = "/v1/bans/lift", request_body = LiftRequest,
    responses((status = OK, body = Lifted), (status = "4XX", body = ErrorBody)))]
async fn lift_bans(State(controller): Shared, Json(request): Json<LiftRequest>) -> Answer<Lifted> {
    blocking(controller, move |controller| controller.lift_bans(&request)).await.map(axum::Json)
}

/// Tells what would become of one packet now, stage by stage, with the limits and bans of now (limits of a policy that is tried are full). Changes nothing: no counter, no
/// limit, no ban.
#[utoipa::path(post, path = "/v1/explain", request_body = ExplainRequest,
    responses((status = OK, body = Explanation), (status = "4XX", body = ErrorBody)))]
async fn explain(State(controller): Shared, Json(request): Json<ExplainRequest>) -> Answer<Explanation> {
    blocking(controller, move |controller| controller.explain(&request)).await.map(axum::Json)
}

/// Makes a twin: the filter once more, on no interface, with limits that have seen nothing yet and the bans of now, to be asked
/// about many packets. It ends when it is deleted, or has not been used for a minute. There are four at most.
#[utoipa::path(post, path = "/v1/twins", request_body = TwinRequest,
    responses((status = OK, body = TwinMade), (status = "4XX", body = ErrorBody)))]
async fn make_twin(State(controller): Shared, Json(request): Json<TwinRequest>) -> Answer<TwinMade> {
    blocking(controller, move |controller| controller.make_twin(&request)).await.map(axum::Json)
}

/// Asks a twin about packets, in their order: of all in the body, or, where that is not made of packets, of none.
///
/// All numbers are little-endian. A packet is its time in nanoseconds of any clock (8 bytes), how many bytes were captured of it
/// (4), how many it had (4; 2,147,483,648 more for one that left the host, which is only taken note of and has no answer), and those
/// that were captured, from the Ethernet header on; for the others there are zeros. The answer has for each packet the number of its reason (4 bytes), the number of the set that blocks it or 0 (4), and the place
/// of the rule that decided or 4,294,967,295 (4). Limits and bans go by the packets' times: the first comes when the twin was
/// made.
#[utoipa::path(post, path = "/v1/twins/{id}/packets", params(("id" = u64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = OK, body = Vec<u8>, content_type = "application/octet-stream"), (status = "4XX", body = ErrorBody)))]
async fn ask_twin(
    State(controller): Shared,
    Path(id): Path<u64>,
    body: Body,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), ApiError> {
    let body = axum::body::to_bytes(body, MAX_PACKET_BYTES).await.map_err(ApiError::PacketBody)?;
    let answers = blocking(controller, move |controller| controller.ask_twin(id, &body)).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], answers))
}

/// Shows packets to a twin, ahead of those that it is asked about, where its rules look at sockets (`looks_at_sockets`): what its packets
/// show of sockets is all of this then, whenever they were captured. The body is as for asking; what is behind the headers may be
/// left out.
#[utoipa::path(post, path = "/v1/twins/{id}/shown", params(("id" = u64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = OK, body = TwinShown), (status = "4XX", body = ErrorBody)))]
async fn show_twin(State(controller): Shared, Path(id): Path<u64>, body: Body) -> Answer<TwinShown> {
    let body = axum::body::to_bytes(body, MAX_PACKET_BYTES).await.map_err(ApiError::PacketBody)?;
    blocking(controller, move |controller| controller.show_twin(id, &body)).await.map(axum::Json)
}

/// What became of all packets that a twin was asked about: by verdict, reason, rule and set.
#[utoipa::path(get, path = "/v1/twins/{id}", params(("id" = u64, Path)),
    responses((status = OK, body = TwinTotals), (status = NOT_FOUND, body = ErrorBody)))]
async fn twin_totals(State(controller): Shared, Path(id): Path<u64>) -> Answer<TwinTotals> {
    blocking(controller, move |controller| controller.twin_totals(id)).await.map(axum::Json)
}

/// Ends a twin.
#[utoipa::path(delete, path = "/v1/twins/{id}", params(("id" = u64, Path)),
    responses((status = OK, body = TwinEnded), (status = NOT_FOUND, body = ErrorBody)))]
async fn end_twin(State(controller): Shared, Path(id): Path<u64>) -> Answer<TwinEnded> {
    blocking(controller, move |controller| controller.end_twin(id)).await.map(axum::Json)
}
