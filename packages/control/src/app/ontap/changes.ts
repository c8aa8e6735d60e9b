import {
  booleanField,
  onlyReferenceField,
  referenceField,
  requireSettable,
  sizeField,
  textField,
  type Fields,
  type Reference,
} from '../../domain/ontap/body.ts'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import { knownFields } from '../../domain/ontap/fields.ts'
import { uuidOf } from '../../domain/ontap/identity.ts'
import { movementFields, movementRequestOf } from '../../domain/ontap/movement.ts'
import type { Cluster } from '../../domain/topology.ts'
import type { FlexVol } from '../../domain/volume.ts'
import type { Aggregates } from '../../ports/aggregates.ts'
import type { FlexVolMoves } from '../../ports/flexvol-moves.ts'
import type { OperationEngine } from '../../ports/operations.ts'
import type { FlexVolRecords } from '../../ports/records.ts'
import type { FlexVols } from '../flexvol.ts'
import { aggregateNamed, aggregateUuid, noSuchAggregate, ownAggregates } from './aggregate-name.ts'
import type { OntapCluster } from './cluster.ts'
import { planMovement } from './movement.ts'

/** What a request has begun: operations, which are jobs; none: it is done. */
export interface Begun {
  jobs: string[]
  /** What it makes. */
  uuid?: string
}

export interface ChangeOptions {
  validateOnly: boolean
  ignoreUnknown: boolean
}

/** What ONTAP's REST API changes. A refused request changes nothing. */
export interface OntapChanges {
  createAggregate(fields: Fields, options: ChangeOptions): Promise<Begun>
  deleteAggregate(uuid: string): Promise<Begun>
  createVolume(fields: Fields, options: ChangeOptions): Promise<Begun>
  /** All of them, or none: each is checked before the first is changed. */
  modifyVolumes(uuids: readonly string[], fields: Fields, options: ChangeOptions): Promise<Begun>
  deleteVolume(uuid: string): Promise<Begun>
  steerJob(uuid: string, action: string): Promise<void>
}

export interface OntapChangeSources {
  cluster: Cluster
  view: OntapCluster
  flexvols: Pick<FlexVolRecords, 'list' | 'get' | 'find'>
  changes: FlexVols
  aggregates: Aggregates
  moves: FlexVolMoves
  engine: Pick<OperationEngine, 'cancel' | 'pause' | 'resume'>
}

export function createOntapChanges(sources: OntapChangeSources): OntapChanges {
  const { cluster, view, changes, aggregates, engine } = sources
  return {
    createAggregate: (fields, options) => createAggregate(sources, fields, options),
    async deleteAggregate(uuid) {
      const aggregate = (await ownAggregates(sources)).find((name) => aggregateUuid(cluster, name) === uuid)
      if (aggregate === undefined) throw OntapError.notFound(`aggregate ${uuid}`, 'uuid')
      return { jobs: [(await aggregates.remove(cluster.name, aggregate)).operationId] }
    },
    createVolume: (fields, options) => createVolume(sources, fields, options),
    async modifyVolumes(uuids, fields, options) {
      const planned: (() => Promise<string[]>)[] = []
      for (const uuid of uuids) planned.push(await planModification(sources, uuid, fields, options))
      if (options.validateOnly) return { jobs: [] }
      const jobs: string[] = []
      for (const carryOut of planned) jobs.push(...(await carryOut()))
      return { jobs }
    },
    async deleteVolume(uuid) {
      const flexvol = await flexvolOf(sources, uuid)
      return { jobs: [(await changes.remove(flexvol.id)).operationId] }
    },
    async steerJob(uuid, action) {
      const { id } = await view.job(uuid)
      if (action === 'cancel') await engine.cancel(id)
      else if (action === 'pause') await engine.pause(id)
      else if (action === 'resume') await engine.resume(id)
      else throw OntapError.invalidValue('action', action, 'cancel, pause or resume')
    },
  }
}

async function flexvolOf({ flexvols, cluster }: OntapChangeSources, uuid: string): Promise<FlexVol> {
  const flexvol = await flexvols.find(uuid)
  if (flexvol?.cluster !== cluster.name) throw OntapError.notFound(`volume ${uuid}`, 'uuid')
  return flexvol
}

/** Fields that say of a volume what every one here is; another value is refused. */
const fixed: Record<string, unknown> = {
  type: 'rw',
  style: 'flexvol',
  state: 'online',
  'guarantee.type': 'none',
  'encryption.enabled': false,
  'snapshot_policy.name': 'none',
}

function requireFixed(fields: Fields): void {
  for (const [name, right] of Object.entries(fixed)) {
    const value = typeof right === 'boolean' ? booleanField(fields, name) : textField(fields, name)
    if (value !== undefined && value !== right)
      throw OntapError.invalidValue(name, String(value), String(right))
  }
}

/** Null: no limit, as large as the aggregate. */
function wantedSize(fields: Fields): number | null | undefined {
  if (['size', 'space.size'].some((name) => fields.get(name) === null)) return null
  const size = sizeField(fields, 'size')
  const spaceSize = sizeField(fields, 'space.size')
  if (size !== undefined && spaceSize !== undefined && size !== spaceSize) {
    throw new OntapError(
      400,
      ontapCodes.fieldsExclude,
      'Field "size" cannot be used with field "space.size" of another value.',
      'size',
    )
  }
  return size ?? spaceSize
}

async function createVolume(
  sources: OntapChangeSources,
  fields: Fields,
  options: ChangeOptions,
): Promise<Begun> {
  const { cluster, view, changes } = sources
  const settable = [
    'name',
    'svm.name',
    'svm.uuid',
    'aggregates',
    'aggregates.name',
    'aggregates.uuid',
    'nas.path',
    'size',
    'space.size',
    ...Object.keys(fixed),
  ]
  requireSettable(fields, settable, knownFields.volumes, options.ignoreUnknown)
  requireFixed(fields)
  const name = textField(fields, 'name')
  if (name === undefined) throw OntapError.missingField('name', "the volume's name, unique in its cluster")
  const svm = referenceField(fields, 'svm')
  if (svm === undefined) {
    throw new OntapError(
      400,
      ontapCodes.svmMissing,
      'No SVM was specified. Either "svm.name" or "svm.uuid" must be supplied.',
      'svm',
    )
  }
  view.requireSvm(svm)
  const reference = onlyReferenceField(fields, 'aggregates')
  if (reference === undefined) {
    throw new OntapError(
      400,
      ontapCodes.aggregateMissing,
      'Either "aggregates.name" or "aggregates.uuid" must be provided.',
      'aggregates',
    )
  }
  const aggregate = await aggregateNamed(sources, reference, 'aggregates')
  if (!(await ownAggregates(sources)).includes(aggregate)) throw noSuchAggregate(aggregate, 'aggregates.name')
  const known = (await sources.flexvols.list()).filter((flexvol) => flexvol.cluster === cluster.name)
  if (known.some((flexvol) => flexvol.name === name)) {
    throw new OntapError(
      409,
      ontapCodes.duplicate,
      `Cluster ${cluster.name} has a volume named "${name}".`,
      'name',
    )
  }
  const junctionPath = textField(fields, 'nas.path')
  const sizeBytes = wantedSize(fields)
  const { operationId, flexvolId } = await changes.create({
    cluster: cluster.name,
    name,
    aggregate,
    ...(junctionPath !== undefined && { junctionPath }),
    ...(sizeBytes !== undefined && sizeBytes !== null && { sizeBytes }),
  })
  return { jobs: [operationId], uuid: flexvolId }
}

/** Checks all that can be checked; what it returns carries the modification out. */
async function planModification(
  sources: OntapChangeSources,
  uuid: string,
  fields: Fields,
  options: ChangeOptions,
): Promise<() => Promise<string[]>> {
  const flexvol = await flexvolOf(sources, uuid)
  const changeable = ['name', 'nas.path', 'size', 'space.size']
  const settable = [...changeable, ...movementFields, ...Object.keys(fixed)]
  requireSettable(fields, settable, knownFields.volumes, options.ignoreUnknown)
  requireFixed(fields)
  const movement = movementRequestOf(fields)
  if (movement !== undefined) {
    const other = changeable.find((name) => fields.has(name))
    if (other !== undefined) {
      throw new OntapError(
        400,
        ontapCodes.fieldsExclude,
        `Field "movement" cannot be used with field "${other}": move and modify in two requests.`,
        other,
      )
    }
    return planMovement(sources, flexvol, movement)
  }
  const sizeBytes = wantedSize(fields)
  const name = textField(fields, 'name')
  const junctionPath = textField(fields, 'nas.path')
  const wantsRename = name !== undefined || junctionPath !== undefined
  if (sizeBytes !== undefined) await sources.changes.checkSize(flexvol.id, sizeBytes)
  if (wantsRename && options.validateOnly) {
    throw new OntapError(
      400,
      ontapCodes.fieldsExclude,
      'Field "validate_only" is for "movement" and "size".',
      'validate_only',
    )
  }
  return async () => {
    const renaming = wantsRename
      ? await sources.changes.rename(flexvol.id, {
          ...(name !== undefined && { name }),
          ...(junctionPath !== undefined && { junctionPath }),
        })
      : null
    if (sizeBytes !== undefined) await sources.changes.resize(flexvol.id, sizeBytes)
    return renaming === null ? [] : [renaming.operationId]
  }
}

async function createAggregate(
  sources: OntapChangeSources,
  fields: Fields,
  options: ChangeOptions,
): Promise<Begun> {
  const { cluster, aggregates } = sources
  if ([...fields.keys()].some((name) => name.startsWith('block_storage.primary.disk'))) {
    throw new OntapError(
      400,
      ontapCodes.invalid,
      'An aggregate here is a file system, and has no disks of its own: give "space.block_storage.size".',
      'block_storage.primary.disk_count',
    )
  }
  requireSettable(
    fields,
    ['name', 'node.name', 'node.uuid', 'space.block_storage.size'],
    knownFields.aggregates,
    options.ignoreUnknown,
  )
  const name = textField(fields, 'name')
  if (name === undefined) throw OntapError.missingField('name', "the aggregate's name, unique in its cluster")
  const node = nodeNamed(cluster, referenceField(fields, 'node'))
  const sizeBytes = sizeField(fields, 'space.block_storage.size')
  if ((await ownAggregates(sources)).includes(name)) {
    throw new OntapError(
      409,
      ontapCodes.duplicate,
      `Cluster ${cluster.name} has an aggregate named "${name}".`,
      'name',
    )
  }
  const { operationId } = await aggregates.create({
    cluster: cluster.name,
    name,
    ...(node !== undefined && { node }),
    ...(sizeBytes !== undefined && { sizeBytes }),
  })
  return { jobs: [operationId], uuid: aggregateUuid(cluster, name) }
}

function nodeNamed(cluster: Cluster, reference: Reference | undefined): string | undefined {
  if (reference === undefined) return undefined
  const { name, uuid } = reference
  const node = cluster.nodes.find(
    (one) =>
      (name === undefined || one.name === name) &&
      (uuid === undefined || uuidOf(cluster.name, 'node', one.name) === uuid),
  )
  if (node === undefined) throw OntapError.notFound(`node ${name ?? uuid ?? ''}`, 'node')
  return node.name
}
