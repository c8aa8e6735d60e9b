import { execFileSync } from 'node:child_process'
import { randomInt, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { createShareAgent } from '@volant/agent/shares/agent.ts'
import type { LocalShareAgent, ShareAgentOptions } from '@volant/agent/shares/agent.ts'
import type { FileSystems } from '@volant/agent/shares/file-systems.ts'
import type { ExportClient, ShareExportSpec } from '@volant/contract'
import { Nfs4Client } from './nfs4-client.ts'
import { caller } from './rig.ts'

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' }).trim()

/** Why this machine can't run such a test; false where it can. */
export const skipNfs =
  process.getuid?.() !== 0
    ? 'only root can mount'
    : existsSync('/usr/bin/ganesha.nfsd')
      ? false
      : 'nfs-ganesha is not installed'

/** File systems of shares that stand on plain files: what is below them is another test's. */
export interface PlainFileSystems extends FileSystems {
  mount(shareId: string): void
  /** With everything of the other one's, its identity too. */
  mountClone(shareId: string, of: string): void
  unmount(shareId: string): void
  /** From now on the file system says that its block device is gone; `rebuild` mends that. */
  lose(shareId: string): void
  readonly rebuilt: string[]
  /** What writes to it waits, until it is given up. */
  freeze(shareId: string): void
  readonly givenUp: string[]
  /** All that were not given up. */
  thaw(): void
  /** `rebuild` throws. */
  refuseRebuild: boolean
}

function plainFileSystems(folder: string): PlainFileSystems {
  const known = new Set<string>()
  const lost = new Set<string>()
  const frozen = new Set<string>()
  const mountPath = (shareId: string): string => join(folder, 'mounts', shareId)
  const image = (shareId: string): string => join(folder, `${shareId}.img`)
  const isMounted = (shareId: string): boolean => {
    const path = mountPath(shareId)
    return existsSync(path) && statSync(path).dev !== statSync(dirname(path)).dev
  }
  const systems: PlainFileSystems = {
    rebuilt: [],
    givenUp: [],
    freeze(shareId) {
      run('fsfreeze', '-f', mountPath(shareId))
      frozen.add(shareId)
    },
    thaw() {
      for (const shareId of frozen) run('fsfreeze', '-u', mountPath(shareId))
      frozen.clear()
    },
    latency() {
      throw new Error('These file systems have no block device of their own.')
    },
    async giveUp(shareId) {
      systems.givenUp.push(shareId)
      systems.thaw()
    },
    refuseRebuild: false,
    mount(shareId) {
      const path = mountPath(shareId)
      mkdirSync(path, { recursive: true })
      if (!existsSync(image(shareId))) {
        writeFileSync(image(shareId), '')
        truncateSync(image(shareId), 320 * 2 ** 20)
        run('mkfs.xfs', '-q', '-s', 'size=4096', image(shareId))
      }
      known.add(shareId)
      if (!isMounted(shareId)) run('mount', '-o', 'loop', image(shareId), path)
    },
    mountClone(shareId, of) {
      run('sync', '-f', mountPath(of))
      run('cp', '--sparse=always', image(of), image(shareId))
      mkdirSync(mountPath(shareId), { recursive: true })
      run('mount', '-o', 'loop,nouuid', image(shareId), mountPath(shareId))
      known.add(shareId)
    },
    unmount: (shareId) => void run('umount', mountPath(shareId)),
    lose: (shareId) => void lost.add(shareId),
    ensure: () => Promise.reject(new Error('not in this test')),
    async ensureNo(shareId) {
      if (isMounted(shareId)) systems.unmount(shareId)
      known.delete(shareId)
    },
    ensureSize: () => Promise.reject(new Error('not in this test')),
    flush: async (shareId) => void run('sync', '-f', mountPath(shareId)),
    trim: async () => {},
    status: async () => undefined,
    ids: () => [...known],
    mountPath,
    isMounted,
    isLost: (shareId) => lost.has(shareId),
    async rebuild(shareId) {
      if (systems.refuseRebuild) throw new Error('The head is away.')
      systems.unmount(shareId)
      systems.mount(shareId)
      lost.delete(shareId)
      systems.rebuilt.push(shareId)
    },
    adopt: async () => {},
    detach() {},
    inventory: async () => [],
    removeStray: async () => {},
  }
  return systems
}

export interface NfsRig {
  folder: string
  agent: LocalShareAgent
  fileSystems: PlainFileSystems
  server: { svm: string; lif: string }
  /** Addresses that clients come from: `address(1)`, … */
  address(which: number): string
  /** A share with a mounted file system; `export` of it with these clients. */
  newShare(): string
  specOf(shareId: string, clients: ExportClient[], more?: Partial<ShareExportSpec>): ShareExportSpec
  export(shareId: string, clients: ExportClient[], more?: Partial<ShareExportSpec>): Promise<void>
  /** A client with a session, from that address. */
  client(from: string, user?: { uid: number; gid: number }): Promise<Nfs4Client>
  /** Another agent on the same state; the first lets go. */
  restartAgent(): LocalShareAgent
  pid(): Promise<number>
}

export const junctionOf = (shareId: string): string => `/share_${shareId.replaceAll('-', '_')}`

/** An agent of shares in a temporary folder, with an address of its own on the loopback; gone when the test ends. */
export function openNfsRig(t: TestContext, options: Partial<ShareAgentOptions> = {}): NfsRig {
  const folder = mkdtempSync(join(tmpdir(), 'vn-'))
  const fileSystems = plainFileSystems(folder)
  const net = `127.${randomInt(16, 255)}.${randomInt(256)}`
  const clients: Nfs4Client[] = []
  const exportIds = new Map<string, number>()
  const newAgent = (): LocalShareAgent =>
    createShareAgent({
      node: 'node1',
      stateDir: join(folder, 's'),
      runDir: join(folder, 'r'),
      fileSystems,
      ...options,
    })
  const rig: NfsRig = {
    folder,
    agent: newAgent(),
    fileSystems,
    server: { svm: 'svm1', lif: `${net}.1` },
    address: (which) => `${net}.${which + 1}`,
    newShare() {
      const shareId = randomUUID()
      fileSystems.mount(shareId)
      return shareId
    },
    specOf(shareId, to, more = {}) {
      const exportId = exportIds.get(shareId) ?? exportIds.size + 1
      exportIds.set(shareId, exportId)
      const junctionPath = junctionOf(shareId)
      return { shareId, server: rig.server, exportId, junctionPath, clients: to, rootSquash: false, ...more }
    },
    export: (shareId, to, more) => rig.agent.ensureShareExport(caller, rig.specOf(shareId, to, more)),
    async client(from, user) {
      const client = await Nfs4Client.open(rig.server.lif, from, user)
      clients.push(client)
      return client
    },
    restartAgent() {
      rig.agent.detach()
      rig.agent = newAgent()
      return rig.agent
    },
    pid: async () => (await rig.agent.listServers())[0]?.pid ?? 0,
  }
  t.after(async () => {
    for (const client of clients) client.close()
    fileSystems.thaw()
    // Whatever the test's fence was.
    await rig.agent.ensureAllStopped({ fence: 1000 })
    rig.agent.detach()
    rmSync(folder, { recursive: true, force: true })
  })
  return rig
}
