// The browser tests, one after the other on one demo. An argument is a part of the names to run.
'use strict'
const { test } = require('node:test')
const { startDemo, startBrowser, lastLooks } = require('./support')

const team = require('./team')

const wanted = (process.argv[2] || '').toLowerCase()
const files = ['./job', './forms', './comfort', './live', './keyboard', './plain', './pages', './looks', './hostile'].map((file) => require(file))
const all = [team.first, ...files, team.last].flatMap((file) => Object.entries(file))
const chosen = all.filter(([name]) => name.toLowerCase().includes(wanted))

test('browser', { timeout: 1500000 }, async (t) => {
  const [demo, browser] = await Promise.all([startDemo(), startBrowser()])
  try {
    for (const [name, run] of chosen) {
      await t.test(name, { timeout: 600000 }, () => run({ demo, browser, base: demo.base }).catch(async (error) => { await lastLooks(name); throw error }))
    }
  } finally {
    await browser.close()
    demo.stop()
    team.stop()
  }
})
