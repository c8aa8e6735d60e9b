import { sql, type Kysely } from 'kysely'
import type { VolumeFilter, VolumePageRequest, VolumeSort } from '../../domain/volume-query.ts'
import type { Volume } from '../../domain/volume.ts'
import type { VolumeMark } from '../../ports/block-storage.ts'
import { prepared, type Tuple } from '../prepared.ts'
import type { Database } from '../schema.ts'
import type { VolumeTable } from '../tables/storage.ts'
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
export function volumePages(db: Kysely<Database>): {
  page(request: VolumePageRequest): Promise<Volume[]> | undefined
  /** The ids of the page, each with its volume's mark. */
  marks(request: VolumePageRequest): Promise<VolumeMark[]> | undefined
} {
  const markerKey = prepared<{ id: string }, [createdAt: string]>(db, (given) =>
    db.selectFrom('volumes').select('created_at').where('id', '=', given('id')).where(isShown('volumes')),
  )
  const pages = new Map<string, Read<VolumeTuple>>()
  const marks = new Map<string, Read<MarkTuple>>()
  const argumentsOf = async ({ marker, limit, offset, filter }: VolumePageRequest): Promise<Arguments> => {
    const [key] = marker === undefined ? [] : await markerKey({ id: marker })
    if (marker !== undefined && key === undefined) throw volumeNotFound(marker)
    const projectId = filter.projectId ?? null
    return { projectId, createdAt: key?.[0] ?? null, id: marker ?? null, limit, offset }
  }
  const readOf = <Row extends readonly unknown[]>(
    made: Map<string, Read<Row>>,
    shape: Shape,
    columns: readonly VolumeColumn[],
  ): Read<Row> => {
    const name = `${shape.ofProject} ${shape.afterMarker} ${shape.direction}`
    const read = made.get(name) ?? pageOfShape<Row>(db, shape, columns)
    made.set(name, read)
    return read
  }
  return {
    page(request) {
      const shape = commonShape(request)
      if (shape === undefined) return undefined
      const read = readOf(pages, shape, volumeColumns)
      return argumentsOf(request).then(async (given) => (await read(given)).map(volumeOfTuple))
    },
    marks(request) {
      const shape = commonShape(request)
      if (shape === undefined) return undefined
      const read = readOf(marks, shape, markColumns)
      return argumentsOf(request).then(async (given) => (await read(given)).map(markOf))
    },
  }
}

type VolumeColumn = keyof VolumeTable & string
type Read<Row> = (given: Arguments) => Promise<Row[]>

const markColumns = ['id', 'created_at', 'revision'] as const satisfies VolumeColumn[]
type MarkTuple = Tuple<VolumeTable, typeof markColumns>
/** Another volume may come to have the id of one that is gone: the time is in it, too. */
const markOf = ([id, createdAt, revision]: MarkTuple): VolumeMark => ({
  id,
  mark: `${revision} ${createdAt}`,
})

function commonShape(request: VolumePageRequest): Shape | undefined {
  const direction = directionByTime(request.sort)
  if (direction === undefined || !isWhole(request.filter)) return undefined
  const ofProject = request.filter.projectId !== undefined
  return { ofProject, afterMarker: request.marker !== undefined, direction }
}

function pageOfShape<Row extends readonly unknown[]>(
  db: Kysely<Database>,
  { ofProject, afterMarker, direction }: Shape,
  columns: readonly VolumeColumn[],
): Read<Row> {
  return prepared<Arguments, Row>(db, (given) => {
    let query = db.selectFrom('volumes').select(columns).where(isShown('volumes'))
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
export const isWhole = (filter: VolumeFilter): boolean =>
  Object.entries(filter).every(([name, value]) => name === 'projectId' || value === undefined)
