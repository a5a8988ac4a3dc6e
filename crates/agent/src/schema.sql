-- Contexts as they were last used. Without a model: never switched, so the default one holds.
create table contexts (
    id text primary key not null,
    born integer not null,
    used integer not null,
    model text,
    provider text,
    prompt text
) strict;

-- What was said, oldest first: questions with their answers, never control messages.
create table exchanges (
    n integer primary key,
    context text not null,
    question text not null,
    answer text not null
) strict;
create index exchanges_of_context on exchanges (context, n);

-- Messages and what became of them. Without a reply: at work.
create table tasks (
    n integer primary key,
    id text not null unique,
    context text not null,
    question text not null,
    artifact text not null,
    since integer not null,
    reply text
) strict;
