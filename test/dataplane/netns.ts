import { execFileSync } from 'node:child_process'
import type { TestContext } from 'node:test'

export interface Place {
  netns: string
  address: string
}

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })

/** Two network namespaces joined by a cable, for a storage node and a compute host; removed when the test ends. */
export function openTwoPlaces(t: TestContext): { node: Place; host: Place } {
  const stem = `vd${process.pid}`
  const [a, b] = [`${stem}a`, `${stem}b`]
  t.after(() => {
    for (const name of [a, b]) execFileSync('ip', ['netns', 'del', name], { stdio: 'pipe' })
  })
  ip('netns', 'add', a)
  ip('netns', 'add', b)
  ip('-n', a, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b)
  for (const [name, address] of [
    [a, '10.99.0.1'],
    [b, '10.99.0.2'],
  ] as const) {
    ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  return {
    node: { netns: `/run/netns/${a}`, address: '10.99.0.1' },
    host: { netns: `/run/netns/${b}`, address: '10.99.0.2' },
  }
}
