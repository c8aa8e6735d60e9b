import { sql, type Kysely } from 'kysely'
import type { VolumeFilter, VolumePageRequest, VolumeSort } from '../../domain/volume-query.ts'
import type { Volume } from '../../domain/volume.ts'
import { prepared } from '../prepared.ts'
import type { Database } from '../schema.ts'
import { isShown } from './hidden.ts'
import { volumeColumns, volumeNotFound, volumeOfTuple, type VolumeTuple } from './volume.ts'

interface Arguments extends Record<string, string | number | null> {
  projectId: string | null
  createdAt: string | null
  id: string | null
  limit: number
  offset: number
}

interface Shape {
  ofProject: boolean
  afterMarker: boolean
  direction: 'asc' | 'desc'
}

/**
 * The lists that clients ask for all the time, a project's volumes or everybody's by their time, as queries that are
 * compiled once. An index has either list in this order, so that a page costs the same wherever it begins.
 * Undefined for any other list.
 */
export function volumePages(
  db: Kysely<Database>,
): (request: VolumePageRequest) => Promise<Volume[]> | undefined {
  const markerKey = prepared<{ id: string }, [createdAt: string]>(db, (given) =>
    db.selectFrom('volumes').select('created_at').where('id', '=', given('id')).where(isShown('volumes')),
  )
  const made = new Map<string, ReturnType<typeof pageOfShape>>()
  const page = async (request: VolumePageRequest, shape: Shape): Promise<Volume[]> => {
    const { marker, limit, offset, filter } = request
    const [key] = marker === undefined ? [] : await markerKey({ id: marker })
    if (marker !== undefined && key === undefined) throw volumeNotFound(marker)
    const name = `${shape.ofProject} ${shape.afterMarker} ${shape.direction}`
    const read = made.get(name) ?? pageOfShape(db, shape)
    made.set(name, read)
    const projectId = filter.projectId ?? null
    const rows = await read({ projectId, createdAt: key?.[0] ?? null, id: marker ?? null, limit, offset })
    return rows.map(volumeOfTuple)
  }
  return (request) => {
    const direction = directionByTime(request.sort)
    if (direction === undefined || !isWhole(request.filter)) return undefined
    const ofProject = request.filter.projectId !== undefined
    return page(request, { ofProject, afterMarker: request.marker !== undefined, direction })
  }
}

function pageOfShape(db: Kysely<Database>, { ofProject, afterMarker, direction }: Shape) {
  return prepared<Arguments, VolumeTuple>(db, (given) => {
    let query = db.selectFrom('volumes').select(volumeColumns).where(isShown('volumes'))
    if (ofProject) query = query.where(sql<boolean>`project_id = ${given('projectId')}`)
    if (afterMarker) {
      const operator = sql.raw(direction === 'asc' ? '>' : '<')
      query = query.where(sql<boolean>`(created_at, id) ${operator} (${given('createdAt')}, ${given('id')})`)
    }
    return query
      .orderBy('created_at', direction)
      .orderBy('id', direction)
      .limit(sql<number>`${given('limit')}`)
      .offset(sql<number>`${given('offset')}`)
  })
}

/** By the time of creation, and by nothing else but the id that makes it total, all in one direction. */
function directionByTime([first, second, ...others]: readonly VolumeSort[]): 'asc' | 'desc' | undefined {
  if (first?.key !== 'created_at' || others.length > 0) return undefined
  if (second === undefined) return first.direction
  return second.key === 'id' && second.direction === first.direction ? first.direction : undefined
}

/** All of a project's, or all there are. */
export const isWhole = ({ projectId: _, ...others }: VolumeFilter): boolean =>
  Object.values(others).every((value) => value === undefined)
