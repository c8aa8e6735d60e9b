/** A whole Volant that serves shares to guests: two aggregates, an NFS server in a network namespace, NFS clients. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPlane, type Plane } from '../migration/plane.ts'
import { chainOf, type ChainProcess } from './chain.ts'
import { manilaOf, type Manila } from './manila.ts'
import { openShareNetwork, type ShareNetwork } from './network.ts'
import { openNfsGuest, type NfsGuest } from './nfs-guest.ts'
import { aggregateFolder, aggregateNames, remainsOf, shareImages, type ShareImage } from './remains.ts'

export const lif = '10.97.0.11'
export type AggregateName = (typeof aggregateNames)[number]

export interface SharePlaneOptions {
  /** Each aggregate on a storage node of its own; the shares are served by the first. */
  apart?: boolean
  /** Bytes of each aggregate; the files are thin. */
  aggregateBytes?: number
  /** Further lines of the configuration. */
  config?: string
  /** Guests' consoles and sockets go there; absent: a folder of its own. */
  say(text: string): void
}

export interface SharePlane {
  plane: Plane
  manila: Manila
  network: ShareNetwork
  /** The pool of an aggregate, as a migration's destination. */
  poolOf(aggregate: AggregateName): Promise<string>
  addGuest(name: string): Promise<NfsGuest>
  /** The processes that stand between a client and its bytes, and those that look after them. */
  chain(): ChainProcess[]
  /** Of the shares that there are: what `close` looks through. */
  imageCount(): number
  /** Ends everything, then looks at what is left, the images of shares included; says what is not right. */
  close(): Promise<string[]>
}

function configOf(stateDir: string, network: ShareNetwork, bytes: number): string {
  const aggregates = aggregateNames.map(
    (name) => `{ name: ${name}, path: ${aggregateFolder(stateDir, name)}, filesystem: xfs, size: ${bytes} }`,
  )
  const perNode = network.nodes.length === 1 ? [aggregates] : aggregates.map((one) => [one])
  const nodes = network.nodes.map(
    ({ netns, address }, i) =>
      `{ name: lma-0${i + 1}, machine: store-${i + 1}, data_address: ${address}, netns: ${netns}, ` +
      `aggregates: [${perNode[i]?.join()}] }`,
  )
  return `
agents: processes
clusters:
  - name: cinder-lma
    nodes: [${nodes.join()}]
    flexvols: []
    shares: { lif: ${lif} }
compute_hosts: []
migration: { retention: 1s }
`
}

export async function openSharePlane(options: SharePlaneOptions): Promise<SharePlane> {
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../.cache/node')
  const network = openShareNetwork(options.apart === true ? 2 : 1)
  network.addLif(0, lif)
  const bytes = options.aggregateBytes ?? 8 * 2 ** 30
  const plane = await openPlane(
    (stateDir) => configOf(stateDir, network, bytes) + (options.config ?? ''),
  ).catch((error: unknown) => {
    network.close()
    throw error
  })
  const { stateDir } = plane
  const guestFolder = mkdtempSync(join(tmpdir(), 'vg-'))
  const guests: NfsGuest[] = []
  const manila = manilaOf(() => plane.client.session)
  return {
    plane,
    manila,
    network,
    async poolOf(aggregate) {
      const pool = (await manila.pools()).find(({ name }) => name.endsWith(`#${aggregate}`))
      if (pool === undefined) throw new Error(`there is no pool of ${aggregate}`)
      return pool.name
    },
    async addGuest(name) {
      const guest = await openNfsGuest({ network, folder: guestFolder, name })
      guests.push(guest)
      options.say(`${name} runs at ${guest.address}`)
      return guest
    },
    chain: () => chainOf(stateDir),
    imageCount: () => imagesOf(stateDir).length,
    async close() {
      for (const guest of guests) await guest.kill()
      const images = imagesOf(stateDir)
      try {
        // What lies in the folder is looked at before it goes.
        await plane.close({ leaves: true })
      } finally {
        network.close()
      }
      const problems = remainsOf(stateDir, images)
      if (process.env['VOLANT_TEST_KEEP'] === undefined && problems.length === 0) {
        execFileSync('rm', ['-rf', '--one-file-system', stateDir])
        rmSync(guestFolder, { recursive: true, force: true })
      }
      return problems
    },
  }
}

/** The truths of all shares. */
const imagesOf = (stateDir: string): ShareImage[] =>
  shareImages(
    stateDir,
    'join volumes v on v.image_id = c.image_id join flexvols f on f.id = v.flexvol_id where v.share_id is not null',
  )
