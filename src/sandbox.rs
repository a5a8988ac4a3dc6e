//! A stand-in for the LiteLLM proxy.
