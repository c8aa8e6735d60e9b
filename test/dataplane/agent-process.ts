import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { createHolderAgent } from '@volant/agent'
import type { HolderAgentOptions } from '@volant/agent'
import { DomainError } from '@volant/contract'
import type { ErrorCode, HolderAgent } from '@volant/contract'

/**
 * A holder agent in a process of its own, which can be killed and stopped. It answers calls over the channel that
 * `fork` makes; a call that its death cuts short is rejected.
 */
export interface AgentProcess {
  readonly agent: HolderAgent
  readonly pid: number
  signal(name: NodeJS.Signals): void
  /** Returns when the process is gone. */
  kill(): Promise<void>
}

type Options = Pick<HolderAgentOptions, 'host' | 'stateDir' | 'runDir' | 'decisionMs'>
type Answer = { id: number; value?: unknown; error?: { code: ErrorCode | null; message: string } }

export async function startAgentProcess(t: TestContext, options: Options): Promise<AgentProcess> {
  const child = fork(import.meta.filename, [JSON.stringify(options)], { stdio: 'inherit' })
  const ended = once(child, 'exit')
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(kill)
  await once(child, 'message')
  return {
    agent: remoteAgent(child),
    pid: child.pid ?? 0,
    signal: (name) => void child.kill(name),
    kill,
  }
}

function remoteAgent(child: ChildProcess): HolderAgent {
  let lastId = 0
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  child.on('message', ({ id, value, error }: Answer) => {
    const call = waiting.get(id)
    waiting.delete(id)
    if (error)
      call?.reject(error.code ? new DomainError(error.code, error.message) : new Error(error.message))
    else call?.resolve(value)
  })
  child.on('exit', () => {
    for (const call of waiting.values()) call.reject(new DomainError('unavailable', 'The agent has ended.'))
    waiting.clear()
  })
  const call = (method: string, args: unknown[]): Promise<unknown> => {
    const answer = Promise.withResolvers<unknown>()
    waiting.set(++lastId, answer)
    child.send({ id: lastId, method, args })
    return answer.promise
  }
  const methods = {
    get:
      (_: object, method: string) =>
      (...args: unknown[]) =>
        call(method, args),
  }
  return new Proxy({}, methods) as HolderAgent
}

if (process.argv[1] === import.meta.filename) {
  const agent = createHolderAgent(JSON.parse(process.argv[2] ?? '') as Options)
  await agent.adopt()
  process.on(
    'message',
    ({ id, method, args }: { id: number; method: keyof HolderAgent; args: unknown[] }) => {
      const call = agent[method] as (...given: unknown[]) => Promise<unknown>
      void call.apply(agent, args).then(
        (value) => process.send?.({ id, value } satisfies Answer),
        (error: Error) => {
          const code = error instanceof DomainError ? error.code : null
          process.send?.({ id, error: { code, message: error.message } } satisfies Answer)
        },
      )
    },
  )
  process.on('disconnect', () => process.exit())
  process.send?.({ id: 0 })
}
