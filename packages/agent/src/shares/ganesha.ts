import type { NfsClient, NfsServerSpec } from '@volant/contract'
import { BusConnection, BusError } from './bus.ts'

/** What one running NFS-Ganesha is asked over its own bus. It is never sent SIGHUP: one wrong word would end all exports. */

const name = 'org.ganesha.nfsd'
const exportManager = {
  destination: name,
  path: '/org/ganesha/nfsd/ExportMgr',
  interface: 'org.ganesha.nfsd.exportmgr',
}
const clientManager = {
  destination: name,
  path: '/org/ganesha/nfsd/ClientMgr',
  interface: 'org.ganesha.nfsd.clientmgr',
}

/** A client that the server remembers; it may be gone. */
export interface RememberedClient {
  address: string
  /** Protocols that it has used: `NFSv3`, `NFSv41`, … */
  protocols: string[]
  /** Milliseconds since 1970. */
  lastSeenMs: number
}

export class Ganesha {
  readonly #bus: BusConnection

  constructor(bus: BusConnection) {
    this.#bus = bus
  }

  get isOpen(): boolean {
    return this.#bus.isOpen
  }

  close(): void {
    this.#bus.close()
  }

  /** Whether it has come to its bus. */
  isThere(): Promise<boolean> {
    return this.#bus.hasOwner(name)
  }

  /** Calls `ended` once, when the server or its bus has ended. */
  async watch(ended: () => void): Promise<void> {
    this.#bus.unref()
    void this.#bus.closed.then(ended)
    await this.#bus.watchOwner(name, (owner) => owner === '' && this.#bus.close())
  }

  /** The ids of what it exports, without the root of the namespace. */
  async exportIds(): Promise<Set<number>> {
    const [, found] = await this.#bus.call({ ...exportManager, member: 'ShowExports' })
    return new Set((found as [number][]).map(([id]) => id).filter((id) => id !== 0))
  }

  /** Throws `BusError` with what the server says; then it is not exported. */
  async addExport(file: string, exportId: number): Promise<void> {
    try {
      await this.#load('AddExport', file, exportId)
    } catch (error) {
      await this.removeExport(exportId)
      throw error
    }
  }

  /** Throws as `addExport`; then it is exported, and by which rules is not known. */
  updateExport(file: string, exportId: number): Promise<void> {
    return this.#load('UpdateExport', file, exportId)
  }

  /** A block that it can't read is left out, and told in an answer that is no error: a rule would be missing. */
  async #load(member: string, file: string, exportId: number): Promise<void> {
    const [said] = await this.#bus.call({ ...exportManager, member }, [file, `EXPORT(Export_Id=${exportId})`])
    if (!/^1 exports (added|updated)\.?\s*$/.test(String(said))) throw new BusError(member, String(said))
  }

  /** Returns when no request reaches it any more. One that is not there is all right. */
  async removeExport(exportId: number): Promise<void> {
    try {
      await this.#bus.call({ ...exportManager, member: 'RemoveExport' }, [exportId])
    } catch (error) {
      if (!(error instanceof BusError) || (await this.exportIds()).has(exportId)) throw error
    }
  }

  async clients(): Promise<RememberedClient[]> {
    const [, found] = await this.#bus.call({ ...clientManager, member: 'ShowClients' })
    return (found as [string, [string, boolean][], [number, number]][]).map(
      ([address, protocols, [seconds, nanoseconds]]) => ({
        address: address.replace(/^::ffff:/, ''),
        protocols: protocols.filter(([, used]) => used).map(([protocol]) => protocol),
        lastSeenMs: seconds * 1000 + Math.floor(nanoseconds / 1e6),
      }),
    )
  }
}

/** Those with a connection, with what the server remembers of them. Which share they use it does not tell. */
export function connectedClients(
  { svm }: NfsServerSpec,
  addresses: ReadonlySet<string>,
  remembered: readonly RememberedClient[] = [],
): NfsClient[] {
  return [...addresses].map((address) => {
    const { protocols = [], lastSeenMs } = remembered.find((one) => one.address === address) ?? {}
    const version = protocols.map(versionOf).findLast((one) => one !== undefined)
    const lastSeen = lastSeenMs === undefined ? null : new Date(lastSeenMs).toISOString()
    return { svm, address, version: version ?? null, shareIds: [], lastSeen }
  })
}

/** `NFSv41` is 4.1. */
const versionOf = (protocol: string): string | undefined => {
  const [, major, minor] = /^NFSv(\d)(\d)?$/.exec(protocol) ?? []
  return major === undefined ? undefined : [major, ...(minor === undefined ? [] : [minor])].join('.')
}
