// What stands under ops/ may only name metrics and labels that there are.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import type { Event } from '../core/event.ts'
import { isObject } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { gaugesOf } from '../outbox/gauges.ts'
import type { SinkStatus } from '../outbox/outbox.ts'
import { readMetrics } from './fixture.test.ts'
import { metrics } from './metrics.ts'

const ops = fileURLToPath(new URL('../../ops', import.meta.url))
/** Prometheus itself sets these. */
const THEIRS = ['job', 'instance', 'le']

/** Labels of each metric, once everything has happened. */
function exposed(): ReadonlyMap<string, ReadonlySet<string>> {
  const sink: SinkStatus = {
    name: 'hook',
    state: 'following',
    cursor: 0,
    behindMs: 0,
    taken: 0,
    dead: 0,
  }
  const { observe, write } = metrics({ gauges: gaugesOf({ status: () => [sink] }) })
  for (const event of happenings) observe(event)
  const found = new Map<string, Set<string>>()
  for (const sample of readMetrics(write().text).keys()) {
    const [name = ''] = sample.split('{', 1)
    const labels = [...sample.matchAll(/(\w+)="/g)].map(([, label = '']) => label)
    found.set(name, new Set([...(found.get(name) ?? []), ...labels, ...THEIRS]))
  }
  return found
}

const amount = { asset: { id: 'test:coin', code: 'COIN', scale: 6 }, amount: 1n }
const key = 'k'
const happenings: readonly Event[] = [
  { type: 'challenged', at: 0, url: '', code: 'payment-required' },
  { type: 'refused', at: 0, url: '', code: 'payment-required', detail: '' },
  { type: 'held', at: 0, key, payer: '', amount },
  { type: 'settled', at: 0, key, reference: '', amount },
  { type: 'voided', at: 0, key, code: 'internal' },
  { type: 'unknown', at: 0, key },
  { type: 'undone', at: 0, key, reference: '', amount },
  { type: 'refunded', at: 0, key, of: key, reference: '', amount },
  {
    ...{ type: 'mismatch', at: 0, key, rail: '', network: '', holder: '' },
    ...{ finding: 'missing', amount },
  },
  { type: 'rail', at: 0, rail: 'evm', network: '', state: 'down' },
  { type: 'delivered', at: 0, key },
  { type: 'paid', at: 0, key, url: '', reference: '', amount },
  { type: 'waiting', at: 0, url: '', sends: 1, waitMs: 1, detail: '' },
  { type: 'lost', at: 0, key },
  { type: 'fault', at: 0, where: '', error: 0 },
]

/** What a query names and is not there. */
function strangers(expr: string): readonly string[] {
  const all = exposed()
  const names = [...expr.matchAll(/\btolsey_\w+/g)].map(([name]) => name)
  const known = new Set(names.flatMap((name) => [...(all.get(name) ?? [])]))
  const by = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(', '))
  const selected = [...expr.matchAll(/(\w+)=~?"/g)].map(([, label = '']) => label)
  assert.ok(names.length > 0, expr)
  return [
    ...names.filter((name) => !all.has(name)),
    ...[...by, ...selected].filter((label) => !known.has(label)),
  ]
}

function text(said: Json | undefined): string {
  return typeof said === 'string' ? said : assert.fail('a text')
}

function objects(said: Json | undefined): readonly JsonObject[] {
  return Array.isArray(said) && said.every(isObject) ? said : assert.fail('a list of objects')
}

describe('what stands under ops', () => {
  test('is read by what would find a stranger', () => {
    assert.deepEqual(strangers('sum by (code) (tolsey_refusals_total{job=~"$job"})'), [])
    assert.deepEqual(strangers('sum by (colour) (tolsey_refusals_total)'), ['colour'])
    assert.deepEqual(strangers('tolsey_refusals{code="x"}'), ['tolsey_refusals', 'code'])
  })

  test('alarms by metrics and labels that there are, and says how bad it is and what to do', async () => {
    const said: JsonObject = parse(await readFile(join(ops, 'alerts.yaml'), 'utf8'))
    const rules = objects(said['groups']).flatMap(({ rules }) => objects(rules))
    assert.ok(rules.length > 8)
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
    for (const { alert, expr, labels, annotations, for: time = '1m' } of rules) {
      assert.ok(typeof alert === 'string' && typeof expr === 'string', JSON.stringify(alert))
      assert.deepEqual(strangers(expr), [], alert)
      assert.match(text(time), /^\d+[mh]$/, alert)
      assert.ok(isObject(labels) && isObject(annotations), alert)
      assert.match(JSON.stringify(labels), /^\{"severity":"(?:critical|warning)"\}$/, alert)
      const { summary, action, ...more } = annotations
      assert.deepEqual(Object.keys(more), [], alert)
      for (const sentence of [summary, action]) assert.match(text(sentence), /\.$/, alert)
      const shown = [...text(summary).matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label)
      for (const label of shown) assert.ok(expr.includes(label), alert)
    }
  })

  test('shows every metric on the dashboard, and none that is not there', async () => {
    const board: JsonObject = JSON.parse(await readFile(join(ops, 'grafana-tolsey.json'), 'utf8'))
    const panels = objects(board['panels'])
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    const queries = panels.flatMap(({ targets }) => objects(targets).map(({ expr }) => text(expr)))
    for (const expr of queries) assert.deepEqual(strangers(expr), [], expr)
    const all = queries.join('\n')
    const hidden = [...exposed().keys()].filter((name) => !new RegExp(`${name}\\b`).test(all))
    // The two others of a histogram.
    assert.deepEqual(hidden, ['tolsey_payment_seconds_sum', 'tolsey_payment_seconds_count'])
    const places = panels.map(({ gridPos }) => JSON.stringify(gridPos))
    assert.equal(new Set(places).size, panels.length)
  })
})
