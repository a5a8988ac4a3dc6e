//! Route patterns, below the base path.

pub const HOME: &str = "/";
pub const LOGIN: &str = "/login";
pub const LOGOUT: &str = "/logout";
pub const MODELS: &str = "/models";
pub const MODEL: &str = "/models/{id}";
pub const MODEL_NEW: &str = "/models/new";
pub const MODEL_EDIT: &str = "/models/{id}/edit";
pub const MODEL_TEST: &str = "/models/{id}/test";
pub const MODEL_BLOCK: &str = "/models/{id}/block";
pub const MODEL_UNBLOCK: &str = "/models/{id}/unblock";
pub const MODEL_DELETE: &str = "/models/{id}/delete";
pub const MODELS_EXPORT: &str = "/models/export";
pub const MODELS_IMPORT: &str = "/models/import";
pub const IMPORT: &str = "/models/import/{job}";
pub const IMPORT_APPLY: &str = "/models/import/{job}/apply";
pub const KEYS: &str = "/keys";
pub const KEY: &str = "/keys/{hash}";
pub const KEYS_CSV: &str = "/keys.csv";
pub const KEYS_NEW: &str = "/keys/new";
pub const KEYS_MATRIX: &str = "/keys/matrix";
pub const KEYS_BULK: &str = "/keys/bulk";
pub const KEYS_BULK_RUN: &str = "/keys/bulk/run";
pub const KEYS_JOB: &str = "/keys/bulk/{id}";
/// Tries again what failed of it.
pub const KEYS_JOB_RETRY: &str = "/keys/bulk/{id}/retry";
pub const KEYS_JOB_CANCEL: &str = "/keys/bulk/{id}/cancel";
pub const KEY_EDIT: &str = "/keys/{hash}/edit";
/// A new key's secret, once.
pub const KEY_SECRET: &str = "/keys/{hash}/secret";
/// Lets a key call certain models alone.
pub const KEY_RESTRICT: &str = "/keys/{hash}/restrict";
pub const KEY_ALLOW: &str = "/keys/{hash}/allow";
pub const KEY_BLOCK: &str = "/keys/{hash}/block";
pub const KEY_UNBLOCK: &str = "/keys/{hash}/unblock";
pub const KEY_DELETE: &str = "/keys/{hash}/delete";
pub const KEY_REPLACE: &str = "/keys/{hash}/replace";
pub const KEY_KEEP: &str = "/keys/{hash}/keep";
pub const KEY_RELAX: &str = "/keys/{hash}/relax";
pub const SWITCH: &str = "/switch";
pub const COMPARE: &str = "/compare";
pub const COMPARISON: &str = "/compare/{id}";
pub const COMPARE_EVENTS: &str = "/compare/{id}/events";
pub const CONTEXTS: &str = "/contexts";
pub const CONTEXT: &str = "/contexts/{agent}/{context}";
pub const CONTEXT_REFRESH: &str = "/contexts/{agent}/{context}/refresh";
/// Puts back what a context was on before a swap.
pub const CONTEXT_UNDO: &str = "/contexts/{agent}/{context}/undo";
pub const CONTEXT_MESSAGE: &str = "/contexts/{agent}/{context}/message";
pub const ASK_EVENTS: &str = "/contexts/{agent}/{context}/asks/{id}/events";
pub const CONTEXT_DESCRIBE: &str = "/contexts/{agent}/{context}/describe";
/// Bulk swaps leave a context alone.
pub const CONTEXT_PIN: &str = "/contexts/{agent}/{context}/pin";
pub const CONTEXT_UNPIN: &str = "/contexts/{agent}/{context}/unpin";
pub const CONTEXT_FORGET: &str = "/contexts/{agent}/{context}/forget";
pub const BULK: &str = "/bulk";
pub const BULK_NEW: &str = "/bulk/new";
pub const BULK_JOB: &str = "/bulk/{id}";
pub const BULK_GO: &str = "/bulk/{id}/go";
/// Tries again what failed of it.
pub const BULK_RETRY: &str = "/bulk/{id}/retry";
pub const BULK_CANCEL: &str = "/bulk/{id}/cancel";
pub const BULK_UNDO: &str = "/bulk/{id}/undo";
pub const SWAP_EVENTS: &str = "/switch/{id}/events";
pub const USAGE: &str = "/usage";
pub const SEARCH: &str = "/search";
pub const HELP: &str = "/help";
pub const THEME: &str = "/theme";
pub const STYLEGUIDE: &str = "/styleguide";
pub const AGENTS: &str = "/agents";
pub const AGENT: &str = "/agents/{name}";
/// Looks whether an agent's model is per context or agent-wide.
pub const AGENT_SCOPE: &str = "/agents/{name}/scope";
pub const AGENT_ADOPT: &str = "/agents/{name}/adopt";
pub const AUDIT: &str = "/audit";
pub const EVENTS: &str = "/events";
pub const DANGER: &str = "/danger";
/// Empties the proxy, and bootstraps it again.
pub const DANGER_RESET: &str = "/danger/reset";
pub const AUDIT_CSV: &str = "/audit.csv";
pub const AUDIT_ENTRY: &str = "/audit/{id}";
pub const HEALTHZ: &str = "/healthz";
pub const READYZ: &str = "/readyz";
pub const METRICS: &str = "/metrics";
pub const STATIC: &str = "/static";
