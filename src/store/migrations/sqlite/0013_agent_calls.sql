-- How agents called the proxy in answered turns, by the proxy's log.
create table agent_calls (
    agent text not null,
    model text not null, -- which the context was on
    endpoint text not null,
    name text not null, -- as the proxy was asked for it
    seen_at integer not null,
    primary key (agent, model)
) strict, without rowid;

-- JSON: what was known of the model and the conversation before the switch.
alter table swaps add column assessment text;

-- When the agent last took a control message for chat; null where it has obeyed one since.
alter table agents add column chatted_at integer;
