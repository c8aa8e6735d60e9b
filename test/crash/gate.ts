/**
 * A control plane that can be held: proxies around its agents and records, which at the named point write a file and
 * wait until another one appears. Arms from outside by a file, so that nothing of it is in the product.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Around } from '@volant/control/plane-state.ts'
import { hostPoints } from './host/points.ts'
import { movePoints } from './move/points.ts'
import { pointOf, points, type Call, type Part, type Point } from './points.ts'
import { sharePoints } from './share/points.ts'

const all = [...points, ...movePoints, ...sharePoints, ...hostPoints]

const files = (stateDir: string) => {
  const folder = join(stateDir, 'crash')
  const at = (name: string): string => join(folder, name)
  return { folder, armed: at('armed'), reached: at('reached'), goOn: at('go-on') }
}

/** The side of the test. */
export interface Gate {
  /** From now on the next control plane to come to the point stops there. */
  arm(point: string): void
  /** Whether one stands there now. */
  isReached(): boolean
  /** Lets it go on; also what has not been reached is forgotten. */
  release(): void
}

export function openGate(stateDir: string): Gate {
  const { folder, armed, reached, goOn } = files(stateDir)
  return {
    arm(point) {
      mkdirSync(folder, { recursive: true })
      for (const file of [reached, goOn]) rmSync(file, { force: true })
      // Appears whole: the control plane looks at it at each call.
      writeFileSync(`${armed}.part`, pointOf(point, all).name)
      renameSync(`${armed}.part`, armed)
    },
    isReached: () => existsSync(reached),
    release() {
      rmSync(armed, { force: true })
      if (existsSync(folder)) writeFileSync(goOn, '')
    },
  }
}

/** The side of the control plane. */
export function gateOf(stateDir: string): Around {
  const { armed, reached, goOn } = files(stateDir)
  const called = new Set<string>()
  let known: Point | undefined

  const armedPoint = (): Point | undefined => {
    if (!existsSync(armed)) {
      known = undefined
      called.clear()
    } else {
      known ??= pointOf(readFileSync(armed, 'utf8'), all)
    }
    return known
  }

  const stopHere = async (): Promise<void> => {
    rmSync(armed)
    writeFileSync(reached, '')
    while (!existsSync(goOn)) await sleep(5)
  }

  const isHere = (point: Point, when: Point['when'], call: Call, result?: unknown): boolean =>
    point.when === when &&
    point.part === call.part &&
    point.method === call.method &&
    (point.since === undefined || called.has(point.since)) &&
    (point.is?.(call, result) ?? true)

  const carryOut = async (call: Call, real: () => Promise<unknown>): Promise<unknown> => {
    const before = armedPoint()
    if (before !== undefined && isHere(before, 'before', call)) await stopHere()
    const result = await real()
    const after = armedPoint()
    if (after !== undefined && isHere(after, 'after', call, result)) await stopHere()
    called.add(call.method)
    return result
  }

  const watched = <T extends object>(part: Part, real: T): T =>
    new Proxy(real, {
      get(target, method) {
        const value: unknown = Reflect.get(target, method)
        if (typeof value !== 'function' || typeof method !== 'string') return value
        return (...args: unknown[]) =>
          carryOut({ part, method, args }, () => value.apply(target, args) as Promise<unknown>)
      },
    })

  const parts: Record<'agents' | 'records', Partial<Record<string, Part>>> = {
    agents: { holders: 'holders', storage: 'storage', shares: 'shareAgents', compute: 'compute' },
    records: {
      copies: 'copies',
      volumes: 'volumes',
      flexvols: 'flexvols',
      moves: 'moves',
      shares: 'shares',
      ground: 'ground',
    },
  }

  return (name, whole) =>
    new Proxy(whole, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key)
        const part = parts[name][String(key)]
        if (part === undefined) return typeof value === 'function' ? value.bind(target) : value
        if (name === 'records') return watched(part, value as object)
        return (...args: unknown[]) =>
          watched(part, (value as (...of: unknown[]) => object).apply(target, args))
      },
    })
}
