import { DomainError } from '@volant/contract'
import type { VolumeCreations } from '../../app/volume-creation.ts'
import type { VolumeDeletions } from '../../app/volume-deletion.ts'
import type { VolumeFacts } from '../../app/volume-facts.ts'
import type { Volumes } from '../../app/volume.ts'
import { enforce } from '../../domain/policy.ts'
import type { VolumePageRequest } from '../../domain/volume-query.ts'
import type { FlexVol } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import {
  accepted,
  booleanOf,
  ok,
  param,
  queryText,
  type Answer,
  type VolumeCall,
  type VolumeRoutes,
} from './call.ts'
import { parseCreateVolume, parseMetadata, parseMetadataItem, parseUpdateVolume } from './volume-body.ts'
import { volumeFilter, volumePage } from './volume-query.ts'
import { viewerOf, volumeDetail, volumeFullDetail, volumeSummary } from './volume-view.ts'

export interface VolumeRouteServices {
  volumes: Volumes
  creations: VolumeCreations
  deletions: VolumeDeletions
  /** For the filter `host`. */
  flexvols(): Promise<FlexVol[]>
  /** The first part of host strings. */
  host: string
}

export function registerVolumes(routes: VolumeRoutes, services: VolumeRouteServices): void {
  const { volumes, creations, deletions } = services
  routes.get('/volumes', (call) => list(services, call, false))
  routes.get('/volumes/detail', (call) => list(services, call, true))
  routes.get('/volumes/summary', (call) => summary(services, call), '3.12')
  routes.post('/volumes', async (call) => {
    const request = parseCreateVolume(call.body, call.requestId)
    const { volume, type } = await creations.create(call.principal, request)
    const facts = { volume, type, attachments: [], host: null, serviceId: null }
    return accepted({ volume: volumeDetail(viewerOf(call), facts) })
  })
  routes.get('/volumes/:volume_id', async (call) => {
    const facts = await volumes.show(call.principal, param(call, 'volume_id'))
    return ok({ volume: volumeFullDetail(viewerOf(call), facts) })
  })
  routes.put('/volumes/:volume_id', async (call) => {
    const fields = parseUpdateVolume(call.body)
    const facts = await volumes.update(call.principal, param(call, 'volume_id'), fields)
    return ok({ volume: volumeDetail(viewerOf(call), facts) })
  })
  routes.delete('/volumes/:volume_id', async (call) => {
    const force = booleanOf(queryText(call, 'force') ?? 'false')
    if (force === undefined) throw new DomainError('invalid', 'force must be true or false.')
    if (force && !atLeast(call.version, '3.23')) {
      throw new DomainError('invalid', 'force needs the microversion 3.23 at least.')
    }
    await deletions.remove(call.principal, param(call, 'volume_id'), { force, requestId: call.requestId })
    return accepted()
  })
  registerMetadata(routes, volumes)
}

async function list(services: VolumeRouteServices, call: VolumeCall, detail: boolean): Promise<Answer> {
  const where = { flexvols: 'host' in call.query ? await services.flexvols() : [], host: services.host }
  const request = volumePage(call, where)
  const found = await services.volumes.list(call.principal, request)
  const viewer = viewerOf(call)
  const counted =
    atLeast(call.version, '3.45') && booleanOf(queryText(call, 'with_count') ?? 'false') === true
  return ok({
    volumes: found.map((facts) => (detail ? volumeFullDetail(viewer, facts) : volumeSummary(viewer, facts))),
    ...nextLink(call, request, found, detail),
    ...(counted && { count: await services.volumes.count(call.principal, request.filter) }),
  })
}

/** Cinder gives the link that goes on with each page that is full, though nothing may follow. */
function nextLink(call: VolumeCall, request: VolumePageRequest, page: VolumeFacts[], detail: boolean) {
  const last = page.at(-1)
  if (page.length < request.limit || last === undefined) return {}
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(call.query)) {
    if (name === 'marker' || name === 'offset' || name === 'limit') continue
    for (const text of [value].flat()) query.append(name, text)
  }
  query.set('limit', String(request.limit))
  query.set('marker', last.volume.id)
  const path = `${call.base}/v3/${call.projectId}/volumes${detail ? '/detail' : ''}`
  return { volumes_links: [{ rel: 'next', href: `${path}?${query.toString()}` }] }
}

async function summary(services: VolumeRouteServices, call: VolumeCall): Promise<Answer> {
  const filter = volumeFilter(call, { flexvols: [], host: services.host })
  const { count, sizeGib, metadata } = await services.volumes.summary(call.principal, filter)
  return ok({
    'volume-summary': {
      total_count: count,
      total_size: sizeGib,
      ...(atLeast(call.version, '3.36') && { metadata }),
    },
  })
}

const missingKey = (call: VolumeCall): DomainError =>
  new DomainError(
    'notFound',
    `Volume ${param(call, 'volume_id')} has no metadata with key ${param(call, 'key')}.`,
  )

function registerMetadata(routes: VolumeRoutes, volumes: Volumes): void {
  const path = '/volumes/:volume_id/metadata'
  const current = async (call: VolumeCall): Promise<Record<string, string>> => {
    const { volume } = await volumes.show(call.principal, param(call, 'volume_id'))
    enforce(call.principal, 'volume:get_volume_metadata', 'reader', volume.projectId)
    return volume.metadata
  }
  routes.get(path, async (call) => ok({ metadata: await current(call) }))
  const set = (how: 'merge' | 'replace') => async (call: VolumeCall) => {
    const { metadata } = parseMetadata(call.body)
    return ok({
      metadata: await volumes.setMetadata(call.principal, param(call, 'volume_id'), metadata, how),
    })
  }
  routes.post(path, set('merge'))
  routes.put(path, set('replace'))
  routes.get(`${path}/:key`, async (call) => {
    const metadata = await current(call)
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
    const all = await volumes.setMetadata(call.principal, param(call, 'volume_id'), meta, 'merge')
    return ok({ meta: { [key]: all[key] } })
  })
  routes.delete(`${path}/:key`, async (call) => {
    if (!(await volumes.removeMetadata(call.principal, param(call, 'volume_id'), param(call, 'key')))) {
      throw missingKey(call)
    }
    return ok(undefined)
  })
}
