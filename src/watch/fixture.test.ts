// Reads an exposition for the tests of this room.
import assert from 'node:assert/strict'

/** The samples of an exposition by name and labels; fails where a line is not what the format wants. */
export function readMetrics(text: string): ReadonlyMap<string, number> {
  const samples = new Map<string, number>()
  const line =
    /^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?\d+(?:\.\d+)?)$/
  assert.ok(text.endsWith('\n'))
  const families = new Set<string>()
  for (const one of text.trimEnd().split('\n')) {
    const [, family = ''] = /^# TYPE (\S+) (?:counter|gauge|histogram)$/.exec(one) ?? []
    if (family !== '') assert.ok(!families.has(family), family)
    families.add(family)
    if (one.startsWith('# ')) continue
    const [, name = '', labels = '', value] = line.exec(one) ?? assert.fail(one)
    assert.ok(!samples.has(name + labels), one)
    samples.set(name + labels, Number(value))
  }
  return samples
}
