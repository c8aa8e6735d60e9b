import { DomainError } from '@volant/contract'
import { ok, param, type VolumeCall, type VolumeRoutes } from './call.ts'
import { parseMetadata, parseMetadataItem } from './volume-body.ts'

type Pairs = Record<string, string>

/** The metadata of a volume or a snapshot. */
export interface MetadataOwner {
  /** `/volumes/:volume_id`. */
  path: string
  /** What a missing key is missing of: `Volume ID`. */
  name(call: VolumeCall): string
  current(call: VolumeCall): Promise<Pairs>
  /** Adds to it, or replaces it whole; what it is then. */
  set(call: VolumeCall, metadata: Pairs, how: 'merge' | 'replace'): Promise<Pairs>
  /** False: there is no such key. */
  remove(call: VolumeCall, key: string): Promise<boolean>
}

export function registerMetadata(routes: VolumeRoutes, owner: MetadataOwner): void {
  const path = `${owner.path}/metadata`
  const missingKey = (call: VolumeCall): DomainError =>
    new DomainError('notFound', `${owner.name(call)} has no metadata with key ${param(call, 'key')}.`)
  routes.get(path, async (call) => ok({ metadata: await owner.current(call) }))
  const set = (how: 'merge' | 'replace') => async (call: VolumeCall) => {
    const { metadata } = parseMetadata(call.body)
    return ok({ metadata: await owner.set(call, metadata, how) })
  }
  routes.post(path, set('merge'))
  routes.put(path, set('replace'))
  routes.get(`${path}/:key`, async (call) => {
    const metadata = await owner.current(call)
    const key = param(call, 'key')
    if (!Object.hasOwn(metadata, key)) throw missingKey(call)
    return ok({ meta: { [key]: metadata[key] } })
  })
  routes.put(`${path}/:key`, async (call) => {
    const { meta } = parseMetadataItem(call.body)
    const key = param(call, 'key')
    if (Object.keys(meta).length !== 1 || !Object.hasOwn(meta, key)) {
      throw new DomainError('invalid', `Request body must hold the one item '${key}' that the URI names.`)
    }
    const all = await owner.set(call, meta, 'merge')
    return ok({ meta: { [key]: all[key] } })
  })
  routes.delete(`${path}/:key`, async (call) => {
    if (!(await owner.remove(call, param(call, 'key')))) throw missingKey(call)
    return ok(undefined)
  })
}
