//! Every refusal: a status code, a code for programs, a message for people, and each single problem.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;

use super::cuts::Cut;
use super::packets::{BadPacket, MAX_PACKET_BYTES};
use super::problem::{ErrorBody, ErrorDetail, MAX_PROBLEMS, Problem};
use super::server::MAX_JSON_BYTES;
use super::types::{Action, SCHEMA};
use crate::dataplane::DataplaneError;
use crate::engine::{EngineError, SetNameError};
use crate::feeds::{BAD_KEPT, FeedError, FeedProblem};
use crate::guard::GuardError;
use crate::policy::{Drawing, PolicyErrors};
use crate::tables::TableError;

/// A request that was refused or failed. Nothing was changed, unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No such path.
    #[error("there is no {path} in this API; /v1/openapi.json describes what there is")]
    NoSuchPath {
        /// As asked.
        path: String,
    },
    /// The path does not take that method.
    #[error("{path} does not take {method}; /v1/openapi.json describes what it takes")]
    NoSuchMethod {
        /// As asked.
        method: String,
        /// As asked.
        path: String,
    },
    /// A body that is not the JSON that was expected.
    #[error("{}", body_message(.0))]
    Body(#[from] JsonRejection),
    /// A query string with a wrong or unknown parameter.
    #[error("{}", .0.body_text())]
    Query(#[from] QueryRejection),
    /// A path that is not text.
    #[error("{}", .0.body_text())]
    Path(#[from] PathRejection),
    /// Something in the request that cannot be meant.
    #[error("{0}")]
    Meaningless(&'static str),
    /// The kernel makes no SYN cookies, and the policy wants them.
    #[error("{0}; nothing was changed (`--force` applies it all the same)")]
    NoCookies(String),
    /// Prefixes that are none.
    #[error("{bad} of {given} prefixes cannot be used; nothing was changed")]
    BadPrefixes {
        /// The first of them.
        problems: Vec<Problem>,
        /// How many there are.
        bad: usize,
        /// Prefixes in the request.
        given: usize,
    },
    /// Addresses that are none.
    #[error("{bad} of {given} addresses cannot be used; nothing was changed")]
    BadAddresses {
        /// Each of them.
        problems: Vec<Problem>,
        /// How many there are.
        bad: usize,
        /// Addresses in the request.
        given: usize,
    },
    /// Prefixes that are to be added and removed in one change.
    #[error("{} prefixes are to be both added and removed; nothing was changed", .prefixes.len())]
    Contradiction {
        /// Each of them.
        prefixes: Vec<IpNet>,
    },
    /// A list that cannot be read.
    #[error("{}; nothing was changed", list_message(.0))]
    BadList(#[source] FeedError),
    /// A name that no set can have.
    #[error(transparent)]
    SetName(#[from] SetNameError),
    /// The set does something else.
    #[error("the set `{name}` has the action {}, not {}; `levee set list` shows the sets, and `--action` names one", .is.name(), .asked.name())]
    OtherAction {
        /// The set.
        name: String,
        /// What it does.
        is: Action,
        /// What it was expected to do.
        asked: Action,
    },
    /// The name is kept for sets of another action.
    #[error(
        "`{name}` is the name of the set that `{}` uses unless told otherwise, so no set with the action {} may have it; choose another name",
        command(*.of), .asked.name()
    )]
    ReservedName {
        /// As asked.
        name: String,
        /// What sets of that name do.
        of: Action,
        /// What it was to do.
        asked: Action,
    },
    /// A list that would change more of a set than the caller allows.
    #[error(
        "the list would add {added} prefixes to the {before} of `{name}` and remove {removed}, and --max-change (max_change) or the policy allows \
         {percent}% of them each; nothing was changed"
    )]
    TooMuchChange {
        /// The set.
        name: String,
        /// Prefixes in it.
        before: usize,
        /// That would come.
        added: usize,
        /// That would go.
        removed: usize,
        /// What is allowed.
        percent: u8,
    },
    /// Entries of a set that would cut off who must stay reachable, or are broader than can be meant.
    #[error(
        "this would block who must stay reachable, or more than can be meant ({found} {}); nothing was changed. An allow \
         entry keeps an address reachable whatever is blocked, and `--force` (`force` in the API) does it all the same",
        if *found == 1 { "case" } else { "cases" }
    )]
    CutsOff {
        /// The first of them.
        reasons: Vec<Problem>,
        /// How many there are.
        found: usize,
    },
    /// The host does not tell who must stay reachable.
    #[error(
        "it cannot be told who must stay reachable, so nothing was changed; `--force` (`force` in the API) does without"
    )]
    Guard(#[from] GuardError),
    /// A policy with errors.
    #[error("{}", _0.render(Drawing::Plain))]
    BadPolicy(Box<PolicyErrors>),
    /// A policy that would cut off who must stay reachable.
    #[error(
        "this policy would cut off who must stay reachable ({} {}); nothing was changed. With `--confirm 60s` (`confirm` in the API) it goes back by itself unless it is confirmed, and `--force` (`force`) applies it all the same",
        .cuts.len(),
        if .cuts.len() == 1 { "case" } else { "cases" }
    )]
    PolicyCutsOff {
        /// Each of them.
        cuts: Vec<Cut>,
    },
    /// A policy on trial that would cut off who confirms it.
    #[error(
        "this policy cuts off the session that you confirm it from: that it arrived is owed to the few packets that a trial \
         lets through of such a session; nothing was changed. Confirm from elsewhere, or with `--force` (`force` in the API)"
    )]
    ConfirmCutsOff {
        /// What becomes of it.
        cuts: Vec<Cut>,
    },
    /// An interface that a policy names runs otherwise than the policy says.
    #[error(
        "{name} is attached with another mode or other checks than the policy says; `levee detach {name}` first"
    )]
    AttachedOtherwise {
        /// The interface.
        name: String,
    },
    /// There is no twin of that number.
    #[error(
        "there is no twin {id}: it has ended, or nobody has used it for a minute; POST /v1/twins makes another"
    )]
    NoSuchTwin {
        /// As asked.
        id: u64,
    },
    /// A twin that was asked is shown packets.
    #[error("twin {id} was asked about packets already; what is shown to a twin comes before that")]
    ShownLate {
        /// As asked.
        id: u64,
    },
    /// There are as many twins as there may be.
    #[error(
        "there are {most} replays (twins) already, which is as many as may be at a time; try again when one has ended: at the latest a minute after it was used last"
    )]
    TooManyTwins {
        /// That there may be.
        most: usize,
    },
    /// A body that is not made of packets.
    #[error("{0}; none was asked about")]
    BadPackets(#[from] BadPacket),
    /// A body that is too long, or ended early.
    #[error("the packets cannot be read; expected at most {} MiB in one request", MAX_PACKET_BYTES >> 20)]
    PacketBody(#[source] axum::Error),
    /// A frame that is none.
    #[error("{0}")]
    BadFrame(String),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The dataplane refused or failed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// A change failed, and so did taking back its first half.
    #[error("{cause}; taking back the first half failed too: {rollback}")]
    HalfDone {
        /// Why it failed.
        cause: Box<ApiError>,
        /// Why it could not be taken back.
        rollback: Box<ApiError>,
    },
    /// Interfaces were detached, but the desired state could not be told.
    #[error(
        "detached, but the state still wants them back, so the next start would attach {interfaces} again: {cause}"
    )]
    NotForgotten {
        /// Their names.
        interfaces: String,
        /// Why the state could not be told.
        cause: Box<ApiError>,
    },
    /// There was no turn for the request in time.
    #[error(
        "all {connections} connections of the daemon are taken, so nothing was asked or changed; try again"
    )]
    Busy {
        /// That there can be.
        connections: usize,
    },
    /// A panic: in this request, or in an earlier one that left the state unknown.
    #[error("an error of Levee's own; the daemon's log tells more, and restarting it reads the state anew")]
    Panicked,
}

/// How sets of that action are added to.
const fn command(action: Action) -> &'static str {
    match action {
        Action::Block => "levee block add",
        Action::Allow => "levee allow add",
        Action::AllowDestination => "levee allow add --destination",
        Action::Match => "levee set import --action match",
    }
}

fn body_message(rejection: &JsonRejection) -> String {
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "expected a JSON body with `content-type: application/json` (`curl --json` sends it)".to_owned()
        }
        StatusCode::PAYLOAD_TOO_LARGE => format!(
            "the body is too large; expected at most {} MiB of JSON: POST /v1/sets/NAME/import takes long lists",
            MAX_JSON_BYTES >> 20
        ),
        _ => rejection.body_text(),
    }
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath { .. } => (StatusCode::NOT_FOUND, "no_such_path"),
            Self::NoSuchMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, "no_such_method"),
            Self::Body(rejection) => match rejection.status() {
                StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
                StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
                status => (status, "bad_body"),
            },
            Self::Query(_) => (StatusCode::BAD_REQUEST, "bad_query"),
            Self::Path(_) => (StatusCode::BAD_REQUEST, "bad_path"),
            Self::Meaningless(_) => (StatusCode::UNPROCESSABLE_ENTITY, "meaningless"),
            Self::NoCookies(_) => (StatusCode::CONFLICT, "no_syn_cookies"),
            Self::BadPrefixes { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_prefix"),
            Self::BadAddresses { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_address"),
            Self::Contradiction { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "contradiction"),
            Self::BadList(error) => list(error),
            Self::SetName(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_set_name"),
            Self::OtherAction { .. } => (StatusCode::CONFLICT, "other_action"),
            Self::ReservedName { .. } => (StatusCode::CONFLICT, "reserved_name"),
            Self::TooMuchChange { .. } => (StatusCode::CONFLICT, "max_change"),
            Self::CutsOff { .. } => (StatusCode::CONFLICT, "cuts_off"),
            Self::Guard(_) => (StatusCode::INTERNAL_SERVER_ERROR, "guard"),
            Self::BadPolicy(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_policy"),
            Self::PolicyCutsOff { .. } | Self::ConfirmCutsOff { .. } => (StatusCode::CONFLICT, "cuts_off"),
            Self::AttachedOtherwise { .. } => (StatusCode::CONFLICT, "attached_otherwise"),
            Self::NoSuchTwin { .. } => (StatusCode::NOT_FOUND, "no_such_twin"),
            Self::TooManyTwins { .. } => (StatusCode::CONFLICT, "too_many_twins"),
            Self::ShownLate { .. } => (StatusCode::CONFLICT, "shown_late"),
            Self::BadPackets(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_packets"),
            Self::PacketBody(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::BadFrame(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_frame"),
            Self::Engine(error) => engine(error),
            Self::Dataplane(error) => dataplane(error),
            Self::HalfDone { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "half_done"),
            Self::NotForgotten { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "not_forgotten"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::BadPrefixes { problems, .. }
            | Self::BadAddresses { problems, .. }
            | Self::CutsOff { reasons: problems, .. } => problems.clone(),
            Self::Contradiction { prefixes } => {
                prefixes.iter().take(MAX_PROBLEMS).map(contradiction).collect()
            }
            Self::BadList(error) => error.all().map(list_problem).collect(),
            Self::PolicyCutsOff { cuts } | Self::ConfirmCutsOff { cuts } => {
                cuts.iter().map(|cut| Problem { message: cut.to_string(), ..Problem::default() }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The document that the caller gets.
    #[must_use]
    pub fn detail(&self) -> ErrorDetail {
        let (_, code) = self.status_and_code();
        let mut details = self.problems();
        let problems = match self {
            Self::BadPrefixes { bad, .. } | Self::BadAddresses { bad, .. } => *bad,
            Self::CutsOff { found, .. } => *found,
            Self::Contradiction { prefixes } => prefixes.len(),
            _ => details.len(),
        };
        details.truncate(MAX_PROBLEMS);
        let omitted = problems.saturating_sub(details.len()) as u64;
        let message = match self {
            // What a source would add is said already, or stands among the details with its place.
            Self::BadList(_) | Self::Body(_) | Self::Query(_) | Self::Path(_) => self.to_string(),
            _ => chain(self),
        };
        ErrorDetail { code: code.to_owned(), message, details, omitted }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, _) = self.status_and_code();
        let error = self.detail();
        if status.is_server_error() && !matches!(self, Self::Busy { .. }) {
            tracing::error!(code = error.code, "{}", error.message);
        }
        (status, axum::Json(ErrorBody { schema: SCHEMA, error })).into_response()
    }
}

fn contradiction(prefix: &IpNet) -> Problem {
    let message = format!("{prefix} is in `add` and in `remove`; leave it in one of them");
    Problem { message, ..Problem::default() }
}

/// What is wrong with a list, and where.
#[must_use]
pub fn list_problem(error: &FeedError) -> Problem {
    Problem {
        source: Some(error.source_name.to_string()),
        line: (error.line > 0).then_some(error.line),
        column: (error.column > 0).then_some(error.column as u64),
        message: chain(&error.problem),
        ..Problem::default()
    }
}

fn list_message(error: &FeedError) -> String {
    match error.others.len() + 1 {
        1 => "the list was refused".to_owned(),
        // Reading ends there, so nobody knows how many there are.
        BAD_KEPT => format!("{BAD_KEPT} lines of the list or more are bad, and it was refused"),
        bad => format!("{bad} lines of the list are bad, and it was refused"),
    }
}

fn list(error: &FeedError) -> (StatusCode, &'static str) {
    match &error.problem {
        FeedProblem::TooManyBytes { .. } | FeedProblem::TooManyEntries { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
        }
        FeedProblem::Read(_) => (StatusCode::BAD_REQUEST, "incomplete"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "bad_list"),
    }
}

fn engine(error: &EngineError) -> (StatusCode, &'static str) {
    match error {
        EngineError::UnknownSet { .. } => (StatusCode::NOT_FOUND, "no_such_set"),
        EngineError::OtherKind { .. } => (StatusCode::CONFLICT, "other_action"),
        EngineError::Tables { source: TableError::OverLimit { .. } | TableError::TooLarge } => {
            (StatusCode::CONFLICT, "no_room")
        }
        EngineError::MayNotFit { .. } => (StatusCode::CONFLICT, "no_room"),
        EngineError::Divided { .. } | EngineError::NotUndone { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "half_done")
        }
        EngineError::Policy(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_policy"),
        EngineError::Rules { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_rules"),
        EngineError::OnTrial => (StatusCode::CONFLICT, "on_trial"),
        EngineError::NoTrial => (StatusCode::CONFLICT, "no_trial"),
        EngineError::NoPolicy | EngineError::NoSuchPolicy { .. } => (StatusCode::NOT_FOUND, "no_such_policy"),
        EngineError::SetInUse { .. } => (StatusCode::CONFLICT, "set_in_use"),
        EngineError::TooManyEntries { .. } => (StatusCode::CONFLICT, "too_many_entries"),
        EngineError::TooManySets => (StatusCode::CONFLICT, "too_many_sets"),
        EngineError::AlreadyExpired => (StatusCode::UNPROCESSABLE_ENTITY, "already_expired"),
        EngineError::TextTooLong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "text_too_long"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "engine"),
    }
}

fn dataplane(error: &DataplaneError) -> (StatusCode, &'static str) {
    match error {
        DataplaneError::UnknownInterface { .. } => (StatusCode::NOT_FOUND, "no_such_interface"),
        DataplaneError::NotAttached { .. } => (StatusCode::NOT_FOUND, "not_attached"),
        DataplaneError::NotEthernet { .. } | DataplaneError::Loopback { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "unsuitable_interface")
        }
        DataplaneError::ModeRefused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "mode_refused"),
        DataplaneError::Occupied { .. } => (StatusCode::CONFLICT, "occupied"),
        DataplaneError::IndexTaken { .. } => (StatusCode::CONFLICT, "index_taken"),
        DataplaneError::AttachedOtherwise { .. } => (StatusCode::CONFLICT, "attached_otherwise"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "dataplane"),
    }
}

/// An error with its sources, on one line; a source that the text before it quotes already is not repeated.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text += &format!(": {next}");
        }
        source = error.source();
    }
    text
}
