-- Agents of the proxy's own A2A gateway that are used here, beside those of the settings.
create table adopted_agents (
    name text collate "C" primary key,
    gateway_id text collate "C" not null unique, -- as in {proxy}/a2a/{gateway_id}
    key_variable text, -- the environment variable of its virtual key; null for TASK_AGENT_API_KEY
    adopted_at bigint not null
);
