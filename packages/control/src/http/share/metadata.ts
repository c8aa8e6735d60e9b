import { DomainError } from '@volant/contract'
import { ok } from '../answer.ts'
import { parseMetadata, parseMetadataItem } from './body.ts'
import { param, type ShareCall, type ShareRoutes, type Versions } from './call.ts'

type Pairs = Record<string, string>

/** The metadata of a share or a snapshot. */
export interface MetadataOwner {
  /** `/shares/:share_id`. */
  path: string
  current(call: ShareCall): Promise<Pairs>
  /** Adds to it, or replaces it whole; what it is then. */
  set(call: ShareCall, metadata: Pairs, how: 'merge' | 'replace'): Promise<Pairs>
  /** False: there is no such key. */
  remove(call: ShareCall, key: string): Promise<boolean>
}

export function registerMetadata(routes: ShareRoutes, owner: MetadataOwner, versions: Versions = {}): void {
  const path = `${owner.path}/metadata`
  const missing = () => new DomainError('notFound', 'Metadata item is not found.')
  routes.get(path, async (call) => ok({ metadata: await owner.current(call) }), versions)
  const set = (how: 'merge' | 'replace') => async (call: ShareCall) => {
    const { metadata } = parseMetadata(call.body)
    return ok({ metadata: await owner.set(call, metadata, how) })
  }
  routes.post(path, set('merge'), versions)
  routes.put(path, set('replace'), versions)
  routes.get(
    `${path}/:key`,
    async (call) => {
      const metadata = await owner.current(call)
      const key = param(call, 'key')
      if (!Object.hasOwn(metadata, key)) throw missing()
      return ok({ meta: { [key]: metadata[key] } })
    },
    versions,
  )
  routes.put(
    `${path}/:key`,
    async (call) => {
      const { meta } = parseMetadataItem(call.body)
      const key = param(call, 'key')
      if (Object.keys(meta).length !== 1 || !Object.hasOwn(meta, key)) {
        throw new DomainError('invalid', `Request body must hold the one item '${key}' that the URI names.`)
      }
      const all = await owner.set(call, meta, 'merge')
      return ok({ meta: { [key]: all[key] } })
    },
    versions,
  )
  routes.delete(
    `${path}/:key`,
    async (call) => {
      if (!(await owner.remove(call, param(call, 'key')))) throw missing()
      return ok(undefined)
    },
    versions,
  )
}
