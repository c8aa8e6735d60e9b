import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import type { NodeDocument } from '@volant/agent/node/credentials.ts'
import { createTlsAuthority } from '@volant/qemu'
import pino from 'pino'
import { AgentProcess, agentFolder, endAgentProcess, endAgentProcesses } from './agent-process.ts'

const name = 'm1-storage'
const document: NodeDocument = { name, plan: { storage: [], holders: [], compute: [], shares: [] } }
const program = join(import.meta.dirname, 'testing/fake-agents.ts')

describe('a process of agents', () => {
  let stateDir = ''
  const started: AgentProcess[] = []
  const supervised = async (
    options: Partial<ConstructorParameters<typeof AgentProcess>[0]> = {},
  ): Promise<AgentProcess> => {
    const one = new AgentProcess({
      document,
      stateDir,
      authority: createTlsAuthority(join(stateDir, 'tls')),
      command: [process.execPath, program],
      isUp: () => true,
      log: pino({ level: 'silent' }),
      ...options,
    })
    started.push(one)
    await one.start()
    return one
  }
  const pidOf = (one: AgentProcess): number => {
    assert.ok(one.pid !== undefined, 'it runs')
    return one.pid
  }

  /** Looks once: between two looks a process that is being killed may die. */
  const runsAsAnother = ({ pid }: AgentProcess, former: number): boolean =>
    pid !== undefined && pid !== former

  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'va-'))
  })
  afterEach(async () => {
    for (const one of started.splice(0)) await one.release()
    await endAgentProcesses(stateDir)
    rmSync(stateDir, { recursive: true, force: true })
  })

  it('outlives who started it, and is found again by the next', async () => {
    const first = await supervised()
    const pid = pidOf(first)
    await first.release()
    assert.equal(pidOf(await supervised()), pid)
  })

  it('is started again when it dies', async () => {
    const one = await supervised()
    const pid = pidOf(one)
    process.kill(pid, 'SIGKILL')
    await until('another process runs', () => runsAsAnother(one, pid))
    assert.match(one.url(), /^https:/)
  })

  it('is another one where its agents are others', async () => {
    const first = await supervised()
    const pid = pidOf(first)
    await first.release()
    const other: NodeDocument = {
      name,
      plan: { ...document.plan, compute: [{ host: 'c1', state: 'hosts/c1', run: 'c0' }] },
    }
    assert.notEqual(pidOf(await supervised({ document: other })), pid)
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  })

  it('that lives and does not answer is killed and started again', async () => {
    const one = await supervised({ isUp: () => false, hungAfterMs: 2000 })
    const pid = pidOf(one)
    process.kill(pid, 'SIGSTOP')
    await until('another process runs', () => runsAsAnother(one, pid))
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  })

  it('that does not start is unavailable with the reason, and tried again until it does', async () => {
    const one = await supervised()
    const broken = join(agentFolder(stateDir, name), 'broken')
    writeFileSync(broken, '')
    await endAgentProcess(stateDir, name)
    const reason = (): string => {
      try {
        return one.url()
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'unavailable')
        return (error as Error).message
      }
    }
    await until('the reason is told', () => /does not start: it is broken/.test(reason()))
    rmSync(broken)
    await until('it runs', () => one.pid !== undefined)
  })

  it('is let go: nobody starts it again', async () => {
    const one = await supervised()
    await one.release()
    assert.equal(await endAgentProcesses(stateDir), 1)
    await sleep(1000)
    assert.equal(one.pid, undefined)
    assert.equal(await endAgentProcesses(stateDir), 0)
  })
})
