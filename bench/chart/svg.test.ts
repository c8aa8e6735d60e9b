import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Chart, RangeFigure } from './chart.ts'
import { linear, logarithmic } from './scale.ts'
import { shown, svgOf } from './svg.ts'

const ranges = (figures: RangeFigure[]): Chart => ({
  kind: 'ranges',
  title: 'Speed <&> "size"',
  unit: '×',
  groups: [{ name: '', figures }],
})

const dots = (svg: string): number[] =>
  [...svg.matchAll(/<circle[^>]* cx="([0-9.]+)"/g)].map((m) => Number(m[1]))

test('a scale begins at nothing or at a power, and reaches past the largest', () => {
  assert.deepEqual(linear(0.93, 100).ticks, [0, 0.2, 0.4, 0.6, 0.8, 1])
  assert.equal(linear(0.93, 100).at(0.5), 50)
  const wide = logarithmic(0.3, 800, 100)
  assert.deepEqual(wide.ticks, [1, 10, 100, 1000])
  assert.equal(wide.at(0.2), 0)
  assert.equal(wide.at(1000), 100)
  assert.ok(Math.abs(wide.at(Math.sqrt(200)) - 50) < 1e-9)
})

test('the same figures give the same text, in order of their values, with nothing unescaped', () => {
  const chart = ranges([
    { name: 'a', value: 1, range: [0.5, 2] },
    { name: 'b', value: 3 },
  ])
  const svg = svgOf(chart)
  assert.equal(svgOf(structuredClone(chart)), svg)
  assert.match(svg, /Speed &lt;&amp;&gt; &quot;size&quot;/)
  const [a = 0, b = 0] = dots(svg)
  // From 0: thrice the value is thrice as far from the axis.
  assert.ok(Math.abs(b - 350 - 3 * (a - 350)) < 0.5, `${a}, ${b}`)
  assert.match(svg, /prefers-color-scheme:dark/)
})

test('figures that are far apart are both seen', () => {
  const [a = 0, b = 0] = dots(
    svgOf(
      ranges([
        { name: 'a', value: 0.5 },
        { name: 'b', value: 5000 },
      ]),
    ),
  )
  assert.ok(a > 345 && b - a > 200, `${a}, ${b}`)
})

test('series are drawn over time, and a chart of nothing is an error', () => {
  const panel = {
    name: 'p99',
    unit: 'ms',
    log: true,
    spans: [{ name: 'copy', from: 1, to: 2 }],
    series: [
      {
        name: 'governed',
        points: [
          [0, 1],
          [2, 10],
        ],
      },
    ],
  }
  const chart = {
    kind: 'time',
    title: 't',

    panels: [panel],
  } as Chart
  assert.match(svgOf(chart), /<polyline class="line c0" points="72,[0-9.]+ 800,[0-9.]+"/)
  assert.throws(() => svgOf(ranges([])), /no figures/)
})

test('of a guest that answered nothing there is its name, and neither a dot nor a failure', () => {
  const nothing: Chart[] = [
    ranges([
      { name: 'answered', value: 2, range: [1, 3] },
      { name: 'silent', value: Number.NaN, range: [Number.NaN, Number.NaN] },
    ]),
    {
      kind: 'time',
      title: 't',
      panels: [
        {
          name: 'p99',
          unit: 'ms',
          log: true,
          series: [
            {
              name: 'silent',
              points: [
                [0, 1],
                [1, Number.NaN],
                [2, 10],
              ],
            },
          ],
        },
      ],
    },
  ]
  // A case hands its charts over as JSON, which has null for it.
  for (const chart of [...nothing, ...(JSON.parse(JSON.stringify(nothing)) as Chart[])]) {
    const svg = svgOf(chart)
    assert.match(svg, /silent|p99/)
    assert.doesNotMatch(svg, /NaN|null/)
    assert.equal(dots(svg).length, chart.kind === 'ranges' ? 1 : 0)
  }
  assert.equal(shown(null), '–')
})
