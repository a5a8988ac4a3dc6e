//! Route patterns, below the base path.

/// The overview.
pub const HOME: &str = "/";
/// The login form.
pub const LOGIN: &str = "/login";
/// Ends the session.
pub const LOGOUT: &str = "/logout";
/// The registry.
pub const MODELS: &str = "/models";
/// One deployment.
pub const MODEL: &str = "/models/{id}";
/// The form of a new deployment.
pub const MODEL_NEW: &str = "/models/new";
/// The form of one deployment.
pub const MODEL_EDIT: &str = "/models/{id}/edit";
/// Has a deployment answer.
pub const MODEL_TEST: &str = "/models/{id}/test";
/// Sets a deployment aside.
pub const MODEL_BLOCK: &str = "/models/{id}/block";
/// Takes a deployment back.
pub const MODEL_UNBLOCK: &str = "/models/{id}/unblock";
/// What a deletion would hit, and the deletion.
pub const MODEL_DELETE: &str = "/models/{id}/delete";
/// The registry as YAML.
pub const MODELS_EXPORT: &str = "/models/export";
/// Plans an import.
pub const MODELS_IMPORT: &str = "/models/import";
/// One import.
pub const IMPORT: &str = "/models/import/{job}";
/// Applies an import, or what has failed of it.
pub const IMPORT_APPLY: &str = "/models/import/{job}/apply";
/// The virtual keys.
pub const KEYS: &str = "/keys";
/// One key.
pub const KEY: &str = "/keys/{hash}";
/// The keys of the filter, for a spreadsheet.
pub const KEYS_CSV: &str = "/keys.csv";
/// The form of a new key.
pub const KEYS_NEW: &str = "/keys/new";
/// Which keys may call which models.
pub const KEYS_MATRIX: &str = "/keys/matrix";
/// Prepares a change of many keys.
pub const KEYS_BULK: &str = "/keys/bulk";
/// Begins a change of many keys.
pub const KEYS_BULK_RUN: &str = "/keys/bulk/run";
/// A change of many keys.
pub const KEYS_JOB: &str = "/keys/bulk/{id}";
/// Tries again what failed of it.
pub const KEYS_JOB_RETRY: &str = "/keys/bulk/{id}/retry";
/// Stops it.
pub const KEYS_JOB_CANCEL: &str = "/keys/bulk/{id}/cancel";
/// The form of a key's settings.
pub const KEY_EDIT: &str = "/keys/{hash}/edit";
/// A new key's secret, once.
pub const KEY_SECRET: &str = "/keys/{hash}/secret";
/// Lets a key call certain models alone.
pub const KEY_RESTRICT: &str = "/keys/{hash}/restrict";
/// Lets a key call one model more.
pub const KEY_ALLOW: &str = "/keys/{hash}/allow";
/// Sets a key aside.
pub const KEY_BLOCK: &str = "/keys/{hash}/block";
/// Takes a key back.
pub const KEY_UNBLOCK: &str = "/keys/{hash}/unblock";
/// Deletes a key.
pub const KEY_DELETE: &str = "/keys/{hash}/delete";
/// Makes a new key in the place of another.
pub const KEY_REPLACE: &str = "/keys/{hash}/replace";
/// Lets a replaced key live on.
pub const KEY_KEEP: &str = "/keys/{hash}/keep";
/// Lets a key call every model.
pub const KEY_RELAX: &str = "/keys/{hash}/relax";
/// The switcher.
pub const SWITCH: &str = "/switch";
/// One message to several models.
pub const COMPARE: &str = "/compare";
/// One comparison.
pub const COMPARISON: &str = "/compare/{id}";
/// A comparison as it goes on.
pub const COMPARE_EVENTS: &str = "/compare/{id}/events";
/// The contexts.
pub const CONTEXTS: &str = "/contexts";
/// One context.
pub const CONTEXT: &str = "/contexts/{agent}/{context}";
/// Reads a context's configuration from its agent.
pub const CONTEXT_REFRESH: &str = "/contexts/{agent}/{context}/refresh";
/// Puts back what a context was on before a swap.
pub const CONTEXT_UNDO: &str = "/contexts/{agent}/{context}/undo";
/// Asks a message in a context.
pub const CONTEXT_MESSAGE: &str = "/contexts/{agent}/{context}/message";
/// An answer as it comes.
pub const ASK_EVENTS: &str = "/contexts/{agent}/{context}/asks/{id}/events";
/// Label, pin and keep of a context.
pub const CONTEXT_DESCRIBE: &str = "/contexts/{agent}/{context}/describe";
/// Bulk swaps leave a context alone.
pub const CONTEXT_PIN: &str = "/contexts/{agent}/{context}/pin";
/// Bulk swaps take a context along.
pub const CONTEXT_UNPIN: &str = "/contexts/{agent}/{context}/unpin";
/// Takes a context out of the list.
pub const CONTEXT_FORGET: &str = "/contexts/{agent}/{context}/forget";
/// Begins a swap of many contexts.
pub const BULK: &str = "/bulk";
/// Counts what a swap of many contexts would change.
pub const BULK_NEW: &str = "/bulk/new";
/// A swap of many contexts.
pub const BULK_JOB: &str = "/bulk/{id}";
/// Goes on with it.
pub const BULK_GO: &str = "/bulk/{id}/go";
/// Tries again what failed of it.
pub const BULK_RETRY: &str = "/bulk/{id}/retry";
/// Stops it.
pub const BULK_CANCEL: &str = "/bulk/{id}/cancel";
/// Takes its swaps back.
pub const BULK_UNDO: &str = "/bulk/{id}/undo";
/// A swap as it goes on.
pub const SWAP_EVENTS: &str = "/switch/{id}/events";
/// Spend, calls and swaps over time.
pub const USAGE: &str = "/usage";
/// Finds pages, models, keys, contexts and agents.
pub const SEARCH: &str = "/search";
/// How to do what.
pub const HELP: &str = "/help";
/// Chooses light or dark.
pub const THEME: &str = "/theme";
/// Each component of the pages, in the demo.
pub const STYLEGUIDE: &str = "/styleguide";
/// The agents.
pub const AGENTS: &str = "/agents";
/// One agent.
pub const AGENT: &str = "/agents/{name}";
/// Looks whether an agent's model is per context or agent-wide.
pub const AGENT_SCOPE: &str = "/agents/{name}/scope";
/// Adopts a context of an agent by its id.
pub const AGENT_ADOPT: &str = "/agents/{name}/adopt";
/// The audit.
pub const AUDIT: &str = "/audit";
/// What happens, as it happens.
pub const EVENTS: &str = "/events";
/// What empties the proxy.
pub const DANGER: &str = "/danger";
/// Empties the proxy, and bootstraps it again.
pub const DANGER_RESET: &str = "/danger/reset";
/// The entries of a filter, for a spreadsheet.
pub const AUDIT_CSV: &str = "/audit.csv";
/// One entry.
pub const AUDIT_ENTRY: &str = "/audit/{id}";
/// Whether the process runs.
pub const HEALTHZ: &str = "/healthz";
/// Whether it can serve.
pub const READYZ: &str = "/readyz";
/// Figures for Prometheus.
pub const METRICS: &str = "/metrics";
/// Style sheet, script, icons.
pub const STATIC: &str = "/static";
