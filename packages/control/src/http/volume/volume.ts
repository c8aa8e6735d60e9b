import { DomainError } from '@volant/contract'
import type { VolumeCreations } from '../../app/volume-creation.ts'
import type { VolumeDeletions } from '../../app/volume-deletion.ts'
import type { Volumes } from '../../app/volume.ts'
import { enforce } from '../../domain/policy.ts'
import type { FlexVol } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import {
  accepted,
  booleanOf,
  nextLink,
  ok,
  param,
  queryText,
  type Answer,
  type VolumeCall,
  type VolumeRoutes,
} from './call.ts'
import { registerMetadata } from './metadata.ts'
import { parseCreateVolume, parseUpdateVolume } from './volume-body.ts'
import { volumeFilter, volumePage } from './volume-query.ts'
import { createVolumeTexts, volumesText, type VolumeTexts } from './volume-texts.ts'
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
  const texts = createVolumeTexts()
  routes.get('/volumes', (call) => list(services, call, undefined))
  routes.get('/volumes/detail', (call) => list(services, call, texts))
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
    const force = queryFlag(call, 'force')
    const cascade = queryFlag(call, 'cascade')
    if (force && !atLeast(call.version, '3.23')) {
      throw new DomainError('invalid', 'force needs the microversion 3.23 at least.')
    }
    const { principal, requestId } = call
    await deletions.remove(principal, param(call, 'volume_id'), { force, cascade, requestId })
    return accepted()
  })
  registerMetadata(routes, {
    path: '/volumes/:volume_id',
    name: (call) => `Volume ${param(call, 'volume_id')}`,
    async current(call) {
      const { volume } = await volumes.show(call.principal, param(call, 'volume_id'))
      enforce(call.principal, 'volume:get_volume_metadata', 'reader', volume.projectId)
      return volume.metadata
    },
    set: (call, metadata, how) =>
      volumes.setMetadata(call.principal, param(call, 'volume_id'), metadata, how),
    remove: (call, key) => volumes.removeMetadata(call.principal, param(call, 'volume_id'), key),
  })
}

function queryFlag(call: VolumeCall, name: string): boolean {
  const value = booleanOf(queryText(call, name) ?? 'false')
  if (value === undefined) throw new DomainError('invalid', `${name} must be true or false.`)
  return value
}

async function list(
  services: VolumeRouteServices,
  call: VolumeCall,
  texts: VolumeTexts | undefined,
): Promise<Answer> {
  const { volumes } = services
  const where = { flexvols: 'host' in call.query ? await services.flexvols() : [], host: services.host }
  const request = volumePage(call, where)
  const viewer = viewerOf(call)
  const counted =
    atLeast(call.version, '3.45') && booleanOf(queryText(call, 'with_count') ?? 'false') === true
  const others = async (page: readonly { id: string }[]): Promise<Record<string, unknown>> => {
    const next = nextLink(call, `/volumes${texts === undefined ? '' : '/detail'}`, request.limit, page)
    return {
      ...(next !== undefined && { volumes_links: [next] }),
      ...(counted && { count: await volumes.count(call.principal, request.filter) }),
    }
  }
  if (texts?.isAskedAgain(viewer, request) === true) {
    const marked = await volumes.marks(call.principal, request)
    if (marked !== undefined) {
      const page = await texts.page(viewer, marked, (ids) => volumes.factsOf(ids))
      const headers = { 'content-type': 'application/json; charset=utf-8' }
      return { ...ok(volumesText(page, await others(marked.marks))), headers }
    }
  }
  const found = await volumes.list(call.principal, request)
  const view = texts === undefined ? volumeSummary : volumeFullDetail
  return ok({
    volumes: found.map((facts) => view(viewer, facts)),
    ...(await others(found.map(({ volume }) => volume))),
  })
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
