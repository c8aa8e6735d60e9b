import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { createStorageAgent } from '@volant/agent'
import type { StorageAgentOptions } from '@volant/agent'
import type { ImageCopyRequest } from '@volant/contract'
import { caller } from './rig.ts'

type Options = Pick<StorageAgentOptions, 'node' | 'stateDir' | 'runDir' | 'aggregates' | 'dataAddress'>

/** A storage agent in a process of its own, with a copy under way; returns what kills it. */
export async function startCopyingAgent(t: TestContext, options: Options, request: ImageCopyRequest) {
  const words = [JSON.stringify(options), JSON.stringify(request)]
  const child = fork(import.meta.filename, words, { stdio: 'inherit' })
  const ended = once(child, 'exit')
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(kill)
  const begun = await Promise.race([once(child, 'message'), ended])
  if (begun[0] !== 'copying') throw new Error('The agent ended before it copied.')
  return { kill }
}

if (process.argv[1] === import.meta.filename) {
  const agent = createStorageAgent(JSON.parse(process.argv[2] ?? '') as Options)
  await agent.ensureImageCopy(caller, JSON.parse(process.argv[3] ?? '') as ImageCopyRequest)
  process.on('disconnect', () => process.exit())
  process.send?.('copying')
}
