import { messageOf, type GuestStatus } from '@volant/contract'
import type { Logger } from 'pino'
import { powerStates, type Server } from '../domain/server.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { HostView, HostViews } from '../ports/hosts.ts'
import type { ServerRecords } from '../ports/servers.ts'

export interface GuestWatch extends HostViews {
  /** Asks all agents once, and brings the servers' records to what they say. */
  refresh(): Promise<void>
  /** Repeats `refresh` until `stop`. */
  start(): void
  stop(): Promise<void>
}

/** The time between two rounds. Milliseconds. */
const everyMs = 2_000
/** An agent that does not answer within this is one that does not answer. Milliseconds. */
const answerWithinMs = 10_000

/** Watches compute hosts and their guests: which hosts answer, and which guests nobody stopped are gone or paused. */
export function createGuestWatch(options: {
  computeHosts: readonly string[]
  agents: Pick<Agents, 'compute'>
  servers: Pick<ServerRecords, 'onHost' | 'updateIf' | 'find'>
  /** Ends what must not run on a host; the host answers only once that is done. See `returned-host.ts`. */
  settle(host: string, guests: readonly GuestStatus[]): Promise<number>
  clock: Clock
  log: Logger
}): GuestWatch {
  const { agents, servers, clock, log } = options
  const views = new Map<string, HostView>(
    options.computeHosts.map((host) => [
      host,
      { host, answers: false, facts: undefined, guests: new Map(), seenAt: clock.now() },
    ]),
  )

  async function look(host: string): Promise<void> {
    const before = views.get(host) as HostView
    try {
      const agent = agents.compute(host)
      const [facts, guests] = await within(Promise.all([agent.facts(), agent.listGuests()]))
      const zombies = await options.settle(host, guests)
      if (zombies > 0) log.warn({ host, zombies }, 'guests of a host that was given up were ended')
      const byServer = new Map(guests.map((guest) => [guest.serverId, guest]))
      views.set(host, { host, answers: true, facts, guests: byServer, seenAt: clock.now() })
      if (!before.answers) log.info({ host }, 'the compute host answers')
      await reconcile(host, byServer)
    } catch (error) {
      views.set(host, { ...before, answers: false })
      if (before.answers) log.warn({ host, reason: messageOf(error) }, 'the compute host does not answer')
    }
  }

  async function reconcile(host: string, guests: ReadonlyMap<string, GuestStatus>): Promise<void> {
    for (const server of await servers.onHost(host)) {
      if (server.taskState !== null) continue
      const seen = guests.get(server.id) ?? { serverId: server.id, state: 'absent', diskAttachmentIds: [] }
      if (changeFor(server, seen, clock.now()) === undefined) continue
      // The list is older than the record just read: ask again, so that a guest just started counts.
      await recordSeen(server, await agents.compute(host).guestStatus(server.id))
    }
  }

  async function recordSeen(server: Server, guest: GuestStatus): Promise<void> {
    const change = changeFor(server, guest, clock.now())
    if (change === undefined) return
    const done = await servers.updateIf(server.id, { vmStates: [server.vmState], taskStates: [null] }, change)
    if (done) log.info({ server: server.id, guest: guest.state, reason: guest.reason }, 'a guest changed')
  }

  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> = Promise.resolve()
  const refresh = async (): Promise<void> => {
    await Promise.all(options.computeHosts.map(look))
  }
  const loop = (): void => {
    round = refresh()
      .catch((error: unknown) => log.error({ err: error }, 'watching guests failed'))
      .then(() => {
        if (timer !== undefined) timer = setTimeout(loop, everyMs)
      })
  }

  return {
    list: () => [...views.values()],
    find: (host) => views.get(host),
    refresh,
    start() {
      if (timer === undefined) timer = setTimeout(loop, 0)
    },
    async stop() {
      clearTimeout(timer)
      timer = undefined
      await round
    },
  }
}

/** What a server's record becomes when its guest is seen in another state; undefined: nothing. Pure. */
export function changeFor(
  server: Pick<Server, 'vmState' | 'powerState' | 'fault'>,
  guest: GuestStatus,
  now: Date,
): Partial<Pick<Server, 'vmState' | 'powerState' | 'fault'>> | undefined {
  const runs = { vmState: 'active', powerState: powerStates.running, fault: null } as const
  switch (server.vmState) {
    case 'active':
      return changeOfActive(server, guest, now)
    case 'resized':
      return changeOfResized(server, guest, now)
    case 'stopped':
      // An action that failed half-way may have started it: what runs is the truth.
      return guest.state === 'running' ? runs : undefined
    case 'paused':
      if (guest.state === 'running') return runs
      return guest.state === 'stopped' || guest.state === 'absent'
        ? changeOfActive(server, guest, now)
        : undefined
    default:
      return undefined
  }
}

function changeOfActive(
  server: Pick<Server, 'powerState' | 'fault'>,
  guest: GuestStatus,
  now: Date,
): ReturnType<typeof changeFor> {
  const fault = (message: string) => ({ code: 500, message, details: null, created: now.toISOString() })
  switch (guest.state) {
    case 'running':
      if (server.powerState === powerStates.running) return undefined
      return { powerState: powerStates.running, fault: null }
    case 'paused-io-error': {
      if (server.powerState === powerStates.paused && server.fault !== null) return undefined
      return {
        powerState: powerStates.paused,
        fault: fault(
          `The guest is paused by a storage fault and goes on when the storage is back: ${
            guest.reason ?? 'its disk gave an I/O error'
          }`,
        ),
      }
    }
    case 'paused':
      if (server.powerState === powerStates.paused) return undefined
      return { powerState: powerStates.paused }
    case 'stopped':
    case 'absent':
      return {
        vmState: 'stopped',
        powerState: guest.reason === undefined ? powerStates.shutdown : powerStates.crashed,
        fault:
          guest.reason === undefined && guest.state === 'stopped'
            ? null
            : fault(`The guest is gone: ${guest.reason ?? 'its host does not know it'}`),
      }
  }
}

/** Whether it runs or not, it waits to be confirmed or reverted. */
function changeOfResized(
  server: Pick<Server, 'powerState' | 'fault'>,
  guest: GuestStatus,
  now: Date,
): ReturnType<typeof changeFor> {
  const isDown = server.powerState === powerStates.shutdown || server.powerState === powerStates.crashed
  if (isDown && guest.state !== 'running') return undefined
  const { vmState: _, ...change } = changeOfActive(server, guest, now) ?? {}
  return change.powerState === undefined ? undefined : change
}

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${answerWithinMs} ms`)), answerWithinMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
