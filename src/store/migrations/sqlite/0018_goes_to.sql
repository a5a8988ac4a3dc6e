-- The swap before which a context goes back to, where a timed swap replaced another one; null for that of `swap`.
alter table reverts add column goes_to text;
