// A team's month: 40 deployments of 29 names, 160 keys, 90 contexts on two agents, four people, 30 days of calls.
//
//   node tests/browser/rich.js    starts it, prints the addresses and the logins, and waits for Ctrl-C
'use strict'
const { spawn, spawnSync } = require('child_process')
const { createHash } = require('crypto')
const fs = require('fs')
const os = require('os')
const path = require('path')
const { startDemo, admin } = require('./support')

const PEOPLE = [['maria', 'operator'], ['jonas', 'operator'], ['priya', 'admin'], ['sam', 'viewer']]
const AGENTS = ['support-agent', 'research-agent']

// Of the people; the default one is not accepted for them.
const PASSWORD = 'cables-and-plugs'

// A key whose value is known, as one that was found in a repository would be.
const LEAKED = { alias: 'web-prod-016', secret: 'sk-rich-leaked-0000000000000016' }

// Name, dollars per million tokens in and out, context window, deployments.
const MODELS = [
  ['openai/gpt-5', 1.25, 10, 272000, 3], ['openai/gpt-5-mini', 0.25, 2, 272000, 2], ['openai/gpt-5-nano', 0.05, 0.4, 272000, 1],
  ['openai/gpt-4o', 2.5, 10, 128000, 2], ['openai/gpt-4o-mini', 0.15, 0.6, 128000, 1], ['openai/gpt-4.1', 2, 8, 1047576, 2],
  ['openai/gpt-4.1-mini', 0.4, 1.6, 1047576, 1], ['openai/o3', 2, 8, 200000, 1], ['openai/text-embedding-3-small', 0.02, 0, 8191, 1],
  ['anthropic/claude-opus-4-1', 15, 75, 200000, 2], ['anthropic/claude-sonnet-4-5', 3, 15, 200000, 3], ['anthropic/claude-haiku-4-5', 1, 5, 200000, 1],
  ['gemini/gemini-2.5-pro', 1.25, 10, 1048576, 2], ['gemini/gemini-2.5-flash', 0.3, 2.5, 1048576, 1], ['gemini/gemini-2.5-flash-lite', 0.1, 0.4, 1048576, 1],
  ['mistral/mistral-large-latest', 2, 6, 131072, 1], ['mistral/codestral-latest', 0.3, 0.9, 256000, 1], ['mistral/ministral-8b-latest', 0.1, 0.1, 131072, 1],
  ['groq/llama-3.3-70b-versatile', 0.59, 0.79, 128000, 2], ['groq/moonshotai-kimi-k2-instruct-0905', 1, 3, 262144, 1],
  ['deepseek/deepseek-chat', 0.27, 1.1, 131072, 1], ['deepseek/deepseek-reasoner', 0.55, 2.19, 131072, 1], ['xai/grok-4', 3, 15, 256000, 1],
  ['bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0', 3, 15, 200000, 2], ['azure/gpt-4o-eu', 2.75, 11, 128000, 1],
  ['cohere/command-a-03-2025', 2.5, 10, 256000, 1], ['perplexity/sonar-pro', 3, 15, 200000, 1],
  ['openrouter/*', 0, 0, 0, 1], ['ollama/*', 0, 0, 0, 1]
]
const CHAT = MODELS.map(([name]) => name).filter((name) => !/[*]|embedding/.test(name))
const TEAMS = ['web-prod', 'web-staging', 'docs-prod', 'search-prod', 'mobile-ios', 'mobile-android', 'data-pipeline', 'support-desk']
const OWNERS = ['maria', 'jonas', 'priya', 'sam', 'platform', '']
const PROMPTS = ['You answer customers of a bicycle shop, in two sentences.', 'You are a release engineer. Quote commit hashes.']

const pick = (list, n) => list[n % list.length]
const number = (n, digits) => String(n).padStart(digits, '0')

// `work` on each of `items`, some at a time.
async function each (items, atOnce, work) {
  const waiting = items.map((item, n) => [item, n]).reverse()
  const worker = async () => { while (waiting.length) await work(...waiting.pop()) }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

const basic = (name, password) => 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64')

// Posts a form to the dashboard in a person's name. The answer to a refusal is of use as well.
const postAs = (base, [name, password], address, form) => fetch(base + address, {
  method: 'POST',
  body: new URLSearchParams(form),
  headers: { accept: 'application/json', authorization: basic(name, password) }
})

function deployments () {
  let serial = 0
  const of = ([name, input, output, window, count]) => Array.from({ length: count }, (_, n) => {
    const [provider, ...rest] = name.split('/')
    serial += 1
    const params = { model: rest.join('/'), custom_llm_provider: provider, api_key: `os.environ/LITELLM_${provider.toUpperCase()}_API_KEY` }
    if (n) Object.assign(params, { api_base: `https://${pick(['eu', 'us'], n)}.${provider}.example/v1`, rpm: 500 * n })
    if (input) Object.assign(params, { input_cost_per_token: input / 1e6, output_cost_per_token: output / 1e6 })
    const info = { id: `00000000-0000-4000-8000-${number(serial, 12)}`, description: n ? `Spare of ${name}` : '', mode: name.includes('embedding') ? 'embedding' : 'chat' }
    if (window) Object.assign(info, { max_input_tokens: window, max_tokens: window })
    return { model_name: name, litellm_params: params, model_info: info }
  })
  return MODELS.flatMap(of)
}

// What the nth key may call: every fifth all.
const modelsOf = (n) => n % 5 === 0 ? [] : Array.from({ length: 1 + n % 7 }, (_, m) => pick(CHAT, n + m * 3))

async function fillProxy (demo) {
  const registered = await fetch(`${demo.proxy}/model/info`, { headers: { authorization: `Bearer ${demo.key}` } }).then((answer) => answer.json())
  await each(registered.data, 4, ({ model_info: { id } }) => admin(demo, '/model/delete', { id }))
  for (const deployment of deployments()) await admin(demo, '/model/new', deployment)
  await admin(demo, '/config/update', { router_settings: { model_group_alias: { 'default-chat': 'openai/gpt-5-mini' }, fallbacks: [{ 'openai/gpt-4o': ['openai/gpt-4o-mini'] }] } })

  const secrets = {}
  const make = async (key) => { secrets[key.key_alias] = (await admin(demo, '/key/generate', key)).key }
  for (const name of AGENTS) await make({ key_alias: name, models: name === AGENTS[0] ? [] : CHAT.slice(0, 12), max_budget: 200, budget_duration: '30d', user_id: 'platform' })
  // The demo has two keys of its own.
  await each(Array.from({ length: 156 }), 6, async (_, n) => {
    const alias = `${pick(TEAMS, n)}-${number(n, 3)}`
    const key = { key_alias: alias, user_id: pick(OWNERS, n) || undefined, models: modelsOf(n) }
    if (alias === LEAKED.alias) key.key = LEAKED.secret
    if (n % 3 === 0) Object.assign(key, { max_budget: 5 * (1 + n % 9), budget_duration: pick(['30d', '7d', '24h'], n) })
    if (n % 4 === 0) key.duration = n % 24 === 8 ? '1s' : `${2 + n}d`
    if (n % 13 === 5) key.blocked = true
    if (n % 17 === 3) Object.assign(key, { rpm_limit: 60, tpm_limit: 100000 })
    await make(key)
  })
  // Spent long ago, as far as the budgets go: to the brim, over it, nothing.
  await each(Array.from({ length: 156 }).map((_, n) => n).filter((n) => n % 3 === 0 && n % 6), 6, (n) => {
    const budget = 5 * (1 + n % 9)
    return admin(demo, '/key/update', { key: secrets[`${pick(TEAMS, n)}-${number(n, 3)}`], spend: budget * pick([0.31, 0.83, 0.97, 1.04, 0.02], n) })
  })
  return secrets
}

// Calls of the last minutes. The month before is the demo's own, since the stand-in dates calls by its clock.
async function call (demo, secrets) {
  const callers = Object.keys(secrets).filter((alias) => !/agent/.test(alias))
  const ask = (alias, model, content) => fetch(`${demo.proxy}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${secrets[alias]}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content }], litellm_session_id: `session-${alias}` })
  })
  await each(Array.from({ length: 240 }), 8, async (_, n) => {
    const trouble = n % 19 === 7 ? ' FAIL=429' : n % 31 === 11 ? ' FAIL=500' : ''
    const [caller, tokens] = [n * 5 % callers.length, n % 41 === 3 ? 20000 + n * 100 : 80 + n * 37 % 2400]
    const model = caller % 5 === 0 ? pick(CHAT, n) : modelsOf(caller)[0]
    await ask(callers[caller], model, `Summarise ticket ${48000 + n}.${trouble} TOKENS=${tokens}`)
  })
}

const contextName = (n) => `ticket-${48000 + n}`
const agentOf = (n) => AGENTS[n % 3 === 2 ? 1 : 0]

// The first 45 contexts are of the days before; see `age`.
const switchSome = (base, from, to) => each(Array.from({ length: to - from }, (_, n) => from + n), 6, async (n) => {
  const who = [pick(PEOPLE, n % 3)[0], PASSWORD]
  const form = { agent: agentOf(n), context: contextName(n), model: pick(CHAT.slice(0, 12), n) }
  if (n % 9 === 4) form.prompt = pick(PROMPTS, n)
  if (n % 11 === 3) form.message = 'Which model am I using?'
  if (n % 9 === 6 && from) form.minutes = String(pick([30, 120, 45], n))
  await postAs(base, who, '/switch', form)
  // A second swap, a refusal of a model that the key may not call, and one that is not registered.
  if (n % 4 === 1) await postAs(base, who, '/switch', { ...form, model: pick(CHAT.slice(0, 12), n + 5) })
  if (n % 12 === 2) await postAs(base, who, '/switch', { ...form, agent: AGENTS[1], model: 'xai/grok-4' })
  if (n % 20 === 5) await postAs(base, who, '/switch', { ...form, model: 'openai/gpt-6' })
  if (n % 10 === 3) await postAs(base, who, `/contexts/${agentOf(n)}/${contextName(n)}/describe`, { label: pick(['Refund, escalated', 'Nightly report', 'VIP: Acme'], n), pinned: n % 20 === 3 ? '1' : '' })
  if (n % 8 === 2) await postAs(base, who, `/contexts/${agentOf(n)}/${contextName(n)}/message`, { message: n % 16 === 2 ? 'Where is my parcel?' : 'Try again. FAIL=500' })
})

// Says something to an agent behind the dashboard's back.
const say = (url, contextId, text) => fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'message/send', params: { message: { kind: 'message', role: 'user', messageId: `${contextId}-${text.length}`, contextId, parts: [{ kind: 'text', text }] } } })
}).then((answer) => answer.json())

// Moves what was written so far into the past, the oldest 12 days back and the newest 14 hours; not all of it
// without python3. The triggers that keep entries as they are were not made for tests.
const AGE = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
triggers = db.execute("select name, sql from sqlite_master where type = 'trigger' and tbl_name = 'audit'").fetchall()
for name, _ in triggers: db.execute(f"drop trigger {name}")
low, high = db.execute("select min(started_at), max(started_at) + 1 from swaps").fetchone()
back = lambda at: at and int(at - 14 * 3600000 - 11.5 * 86400000 * ((high - at) / max(1, high - low)) ** 2)
db.create_function("back", 1, back)
for table, columns in {"audit": ["at"], "swaps": ["started_at", "finished_at"], "contexts": ["read_at", "served_at"], "asks": ["at"]}.items():
    db.execute(f"update {table} set " + ", ".join(f"{c} = back({c})" for c in columns))
for _, sql in triggers: db.execute(sql)
db.commit()
`
const age = (file) => spawnSync('python3', ['-c', AGE, file], { encoding: 'utf8' })

// Starts a server and waits until it answers at `/healthz` or its card's address.
async function serve (args, env, cwd, ready) {
  const child = spawn(process.env.PATCHBAY_BINARY, args, { cwd, env: { PATH: process.env.PATH, HOME: cwd, RUST_LOG: 'error', ...env } })
  let said = ''
  child.stdout.on('data', (data) => { said += data })
  child.stderr.on('data', (data) => { said += data })
  const ended = new Promise((resolve) => child.on('exit', resolve))
  for (let tries = 0; ; tries++) {
    const answer = await fetch(ready).catch(() => undefined)
    if (answer?.ok) break
    if (tries > 200 || child.exitCode !== null) throw new Error(`${args[0]} did not start: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { stop: async () => { child.kill(); await ended } }
}

// Ports that nobody listens on; whoever is quick might take one.
async function freePorts (count) {
  const net = require('net')
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => { const s = net.createServer().listen(0, '127.0.0.1', () => resolve(s)) })))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

// Starts all of it: what `startDemo` gives, and the agents, the people and the leaked key.
async function startRich () {
  const began = Date.now()
  const demo = await startDemo()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'patchbay-rich-'))
  const running = []
  const stop = async () => {
    await Promise.all(running.map((server) => server.stop()))
    demo.stop()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  try {
    const [port, ...agentPorts] = await freePorts(1 + AGENTS.length)
    const [base, urls] = [`http://127.0.0.1:${port}`, agentPorts.map((p) => `http://127.0.0.1:${p}/a2a/litellm_agent`)]
    const users = path.join(folder, 'users')
    const add = ([name, role]) => spawnSync(process.env.PATCHBAY_BINARY, ['user', 'add', name, '--role', role, '--users-file', users, '--password-stdin'], { input: PASSWORD, cwd: folder })
    PEOPLE.forEach(add)
    const secrets = await fillProxy(demo)
    const agents = AGENTS.map((name, n) => ({ name, url: urls[n], key: `env:KEY_${n}` }))
    fs.writeFileSync(path.join(folder, 'agents.yaml'), JSON.stringify({ agents }))
    const keys = Object.fromEntries(AGENTS.map((name, n) => [`KEY_${n}`, secrets[name]]))
    const startAgent = (n) => serve(['agent', '--bind', `127.0.0.1:${agentPorts[n]}`], {
      LITELLM_PROXY_URL: demo.proxy, TASK_AGENT_API_KEY: secrets[AGENTS[n]], PATCHBAY_AGENT_DATABASE_URL: `sqlite://${folder}/agent-${n}.db`
    }, folder, `${urls[n]}/.well-known/agent-card.json`)
    const served = await Promise.all(AGENTS.map((_, n) => startAgent(n)))
    running.push(...served)
    const database = path.join(folder, 'patchbay.db')
    const dashboard = () => serve(['serve', '--bind', `127.0.0.1:${port}`], {
      ...keys, LITELLM_PROXY_URL: demo.proxy, LITELLM_MASTER_KEY: demo.key, PATCHBAY_DATABASE_URL: `sqlite://${database}`, PATCHBAY_AGENTS_FILE: path.join(folder, 'agents.yaml'), PATCHBAY_USERS_FILE: users, PATCHBAY_INSTANCE: 'staging'
    }, folder, `${base}/healthz`)
    const early = await dashboard()
    await Promise.all([call(demo, secrets), switchSome(base, 0, 45)])
    await early.stop()
    const aged = age(database)
    running.push(await dashboard())
    await switchSome(base, 45, 90)
    // Two contexts drift, one of them to a model that nobody registered.
    for (const [n, model] of [[47, 'anthropic/claude-opus-4-1'], [60, 'openai/gpt-4o-mini']]) {
      await say(urls[AGENTS.indexOf(agentOf(n))], contextName(n), `[HOTSWAP:MODEL:${model}]`)
      await postAs(base, ['maria', PASSWORD], `/contexts/${agentOf(n)}/${contextName(n)}/refresh`, {})
    }
    await bulk(base)
    const took = Date.now() - began
    return { base, proxy: demo.proxy, key: demo.key, urls, took, isAged: aged.status === 0, problem: aged.stderr, stop, stopAgent: (n) => served[n].stop(), leakedHash: createHash('sha256').update(LEAKED.secret).digest('hex') }
  } catch (error) {
    await stop()
    throw error
  }
}

// A bulk swap of seven contexts, and one change of many keys, which have to be read first.
async function bulk (base) {
  const someone = ['priya', PASSWORD]
  const authorization = basic(...someone)
  for (let isRead = false, tries = 0; !isRead && tries < 40; tries++) {
    isRead = (await (await fetch(`${base}/keys`, { headers: { accept: 'application/json', authorization } })).json()).is_complete
    if (!isRead) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const ids = [48, 49, 52, 54, 55, 57, 58].map(contextName).join('\n')
  await postAs(base, someone, '/bulk', { agent: AGENTS[0], ids, model: 'openai/gpt-4.1', canary: '0', at_once: '8', pace: '0', stop_after: '5', count: '7' })
  await postAs(base, someone, '/keys/bulk/run', { scope: 'filter', filter: 'q=mobile-ios', action: 'budget', max_budget: '40', confirm: '1' })
}

module.exports = { startRich, LEAKED, contextName }

if (require.main === module) {
  startRich().then((rich) => {
    console.log(JSON.stringify({ ...rich, pid: process.pid }, null, 1))
    const end = () => rich.stop().then(() => process.exit(0))
    process.on('SIGINT', end)
    process.on('SIGTERM', end)
    setInterval(() => {}, 60000)
  }, (error) => { console.error(error); process.exit(1) })
}
