//! Every address below the base path, once: routes, extractors and links are made of these.

use axum_extra::routing::TypedPath;
use serde::Deserialize;

use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::key::KeyHash;
use crate::web::errors::{Named, Unfound};

macro_rules! named {
    ($($parameters:ty: $name:literal,)+) => {$(
        impl Named for $parameters {
            const NAME: &'static str = $name;
        }
    )+};
}

named! {
    (AgentName,): "The agent",
    (AgentName, ContextId): "The context",
    (AgentName, ContextId, String): "The question",
    (KeyHash,): "The key",
    (String,): "The page",
    (i64,): "The entry",
}

macro_rules! routes {
    (@one $name:ident = $path:tt) => {
        #[derive(TypedPath)]
        #[typed_path($path)]
        pub(in crate::web) struct $name;
    };
    (@one $name:ident($($parameter:ty),+) = $path:tt) => {
        #[derive(TypedPath, Deserialize)]
        #[typed_path($path, rejection(Unfound<($($parameter,)+)>))]
        pub(in crate::web) struct $name($(pub(in crate::web) $parameter),+);
    };
    ($($(#[$doc:meta])* $name:ident $(($($parameter:ty),+))? = $path:tt;)+) => {$(
        routes!(@one $name $(($($parameter),+))? = $path);

        $(#[$doc])*
        impl $name {
            pub(in crate::web) const PATH: &str = $path;
        }
    )+};
}

routes! {
    Home = "/";
    Login = "/login";
    Logout = "/logout";
    Models = "/models";
    Model(String) = "/models/{id}";
    ModelNew = "/models/new";
    ModelEdit(String) = "/models/{id}/edit";
    ModelTest(String) = "/models/{id}/test";
    ModelBlock(String) = "/models/{id}/block";
    ModelUnblock(String) = "/models/{id}/unblock";
    ModelDelete(String) = "/models/{id}/delete";
    ModelsExport = "/models/export";
    ModelsImport = "/models/import";
    Import(String) = "/models/import/{job}";
    ImportApply(String) = "/models/import/{job}/apply";
    Keys = "/keys";
    Key(KeyHash) = "/keys/{hash}";
    KeysCsv = "/keys.csv";
    KeysNew = "/keys/new";
    /// Finds a key by its value.
    KeysFind = "/keys/find";
    KeysMatrix = "/keys/matrix";
    KeysBulk = "/keys/bulk";
    KeysBulkRun = "/keys/bulk/run";
    KeysJob(String) = "/keys/bulk/{id}";
    /// Tries again what failed of it.
    KeysJobRetry(String) = "/keys/bulk/{id}/retry";
    KeysJobCancel(String) = "/keys/bulk/{id}/cancel";
    KeyEdit(KeyHash) = "/keys/{hash}/edit";
    /// Lets a key call certain models alone.
    KeyRestrict(KeyHash) = "/keys/{hash}/restrict";
    KeyAllow(KeyHash) = "/keys/{hash}/allow";
    KeyDisallow(KeyHash) = "/keys/{hash}/disallow";
    KeyBlock(KeyHash) = "/keys/{hash}/block";
    KeyExtend(KeyHash) = "/keys/{hash}/extend";
    KeyResetSpend(KeyHash) = "/keys/{hash}/reset-spend";
    KeyUnblock(KeyHash) = "/keys/{hash}/unblock";
    KeyDelete(KeyHash) = "/keys/{hash}/delete";
    KeyReplace(KeyHash) = "/keys/{hash}/replace";
    KeyKeep(KeyHash) = "/keys/{hash}/keep";
    KeyRetire(KeyHash) = "/keys/{hash}/retire";
    KeyRelax(KeyHash) = "/keys/{hash}/relax";
    Switch = "/switch";
    Compare = "/compare";
    Comparison(String) = "/compare/{id}";
    CompareEvents(String) = "/compare/{id}/events";
    Contexts = "/contexts";
    Context(AgentName, ContextId) = "/contexts/{agent}/{context}";
    ContextRefresh(AgentName, ContextId) = "/contexts/{agent}/{context}/refresh";
    /// Puts back what a context was on before a swap.
    ContextUndo(AgentName, ContextId) = "/contexts/{agent}/{context}/undo";
    ContextMessage(AgentName, ContextId) = "/contexts/{agent}/{context}/message";
    AskEvents(AgentName, ContextId, String) = "/contexts/{agent}/{context}/asks/{id}/events";
    ContextDescribe(AgentName, ContextId) = "/contexts/{agent}/{context}/describe";
    /// Bulk swaps leave a context alone.
    ContextPin(AgentName, ContextId) = "/contexts/{agent}/{context}/pin";
    ContextUnpin(AgentName, ContextId) = "/contexts/{agent}/{context}/unpin";
    ContextForget(AgentName, ContextId) = "/contexts/{agent}/{context}/forget";
    Bulk = "/bulk";
    BulkNew = "/bulk/new";
    BulkJob(String) = "/bulk/{id}";
    BulkGo(String) = "/bulk/{id}/go";
    /// Tries again what failed of it.
    BulkRetry(String) = "/bulk/{id}/retry";
    BulkCancel(String) = "/bulk/{id}/cancel";
    BulkUndo(String) = "/bulk/{id}/undo";
    /// One receipt.
    Swap(String) = "/swaps/{id}";
    SwapEvents(String) = "/switch/{id}/events";
    Usage = "/usage";
    Calls = "/calls";
    Call(String) = "/calls/{request_id}";
    OpenApi = "/openapi.json";
    Search = "/search";
    Help = "/help";
    Theme = "/theme";
    Styleguide = "/styleguide";
    Agents = "/agents";
    Agent(AgentName) = "/agents/{name}";
    /// Looks whether an agent's model is per context or agent-wide.
    AgentScope(AgentName) = "/agents/{name}/scope";
    AgentAdopt(AgentName) = "/agents/{name}/adopt";
    /// Uses an adopted agent no more.
    AgentRemove(AgentName) = "/agents/{name}/remove";
    /// Uses an agent of the proxy's gateway from now on.
    GatewayAdopt(String) = "/gateway/{id}/adopt";
    Audit = "/audit";
    Events = "/events";
    Danger = "/danger";
    /// Empties the proxy, and bootstraps it again.
    DangerReset = "/danger/reset";
    Settings = "/settings";
    AlertsChoose = "/settings/alerts";
    AlertsTest = "/settings/alerts/test";
    Users = "/users";
    SessionEnd = "/users/sessions/end";
    /// Access tokens of one's own scripts.
    Tokens = "/tokens";
    TokenRevoke(String) = "/tokens/{id}/revoke";
    AuditCsv = "/audit.csv";
    AuditEntry(i64) = "/audit/{id}";
    Healthz = "/healthz";
    Readyz = "/readyz";
    Metrics = "/metrics";
    Static = "/static";
}
