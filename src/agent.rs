//! The built-in task agent.
