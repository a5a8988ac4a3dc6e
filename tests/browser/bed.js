// A dashboard as a team has it: behind nginx, which says who logs in, with two agents; two replicas on Postgres, or one on
// SQLite.
'use strict'
const { spawn } = require('child_process')
const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')

const MASTER = 'sk-browser-master'
const LOGIN = { username: 'ada', password: 'a password for the team' }

const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)) })
})

// The headers that oauth2-proxy or a company's gateway would set are those of the test here.
const nginx = (folder, port, replicas) => `
daemon off; pid ${folder}/nginx.pid; error_log ${folder}/nginx-error.log;
events { worker_connections 256; }
http {
  access_log off; client_max_body_size 8m;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  upstream patchbay { ${replicas.map((at) => `server 127.0.0.1:${at} max_fails=1 fail_timeout=2s;`).join(' ')} }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://patchbay;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-User $http_x_test_user;
      proxy_set_header X-Forwarded-Groups $http_x_test_groups;
      proxy_buffering off;
      proxy_read_timeout 1h;
    }
  }
}
`

async function answers (url) {
  for (const until = Date.now() + 30000; ;) {
    const answer = await fetch(url).catch(() => null)
    if (answer?.ok) return
    if (Date.now() > until) throw new Error(`${url} does not answer`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

// `database` makes the replicas' address of theirs out of the folder.
async function startBed (replicas, database) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'patchbay-team-'))
  const processes = {}
  const start = (name, command, args, env = {}) => {
    const log = fs.openSync(path.join(folder, `${name}.log`), 'a')
    processes[name] = spawn(command, args, { cwd: folder, stdio: ['ignore', log, log], env: { PATH: process.env.PATH, HOME: folder, ...env } })
  }
  const patchbay = (name, args, env) => start(name, process.env.PATCHBAY_BINARY, args, env)
  const [proxy, front, ...rest] = await Promise.all(Array.from({ length: 4 + replicas }, freePort))
  const [agents, ports] = [rest.slice(0, 2), rest.slice(2)]
  const at = (port) => `http://127.0.0.1:${port}`

  patchbay('proxy', ['sandbox', '--bind', `127.0.0.1:${proxy}`], { LITELLM_MASTER_KEY: MASTER })
  await answers(`${at(proxy)}/health/liveliness`)
  const admin = async (address, body) => (await fetch(at(proxy) + address, {
    method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', authorization: `Bearer ${MASTER}` }
  })).json()
  for (const model of ['gpt-5', 'gpt-5-mini']) {
    await admin('/model/new', { model_name: `openai/${model}`, litellm_params: { model, custom_llm_provider: 'openai' } })
  }
  const { key } = await admin('/key/generate', { key_alias: 'task-agent', models: [] })
  const common = { FF_LLM_PROXY_BASE_URL: at(proxy), TASK_AGENT_API_KEY: key, RUST_LOG: 'warn' }
  const names = ['task-agent', 'other-agent']
  for (const [n, name] of names.entries()) {
    patchbay(name, ['agent', '--bind', `127.0.0.1:${agents[n]}`], { ...common, PATCHBAY_DATABASE_URL: `sqlite://${name}.db` })
    await answers(`${at(agents[n])}/health`)
  }
  for (const port of ports) {
    patchbay(`replica-${port}`, ['serve', '--bind', `127.0.0.1:${port}`], {
      ...common,
      PATCHBAY_DATABASE_URL: database,
      LITELLM_MASTER_KEY: MASTER,
      UI_USERNAME: LOGIN.username,
      UI_PASSWORD: LOGIN.password,
      PATCHBAY_AGENTS: names.map((name, n) => `${name}=${at(agents[n])}/a2a/litellm_agent`).join(','),
      PATCHBAY_TRUSTED_PROXIES: '127.0.0.1',
      PATCHBAY_SSO_USER_HEADER: 'X-Forwarded-User',
      PATCHBAY_SSO_GROUPS_HEADER: 'X-Forwarded-Groups',
      PATCHBAY_SSO_ROLES: 'admins=admin,sre=operator,staff=viewer'
    })
  }
  for (const port of ports) await answers(`${at(port)}/readyz`)
  fs.writeFileSync(path.join(folder, 'nginx.conf'), nginx(folder, front, ports))
  start('nginx', '/usr/sbin/nginx', ['-p', folder, '-c', path.join(folder, 'nginx.conf')])
  await answers(`${at(front)}/readyz`)
  return {
    base: at(front),
    replicas: ports.map(at),
    kill: (name) => processes[name].kill('SIGKILL'),
    log: (name) => fs.readFileSync(path.join(folder, `${name}.log`), 'utf8'),
    // Also nginx's workers: a kill of the main process alone would leave them.
    stop: () => { for (const one of Object.values(processes)) one.kill('SIGTERM'); fs.rmSync(folder, { recursive: true, force: true }) }
  }
}

module.exports = { startBed, LOGIN }
