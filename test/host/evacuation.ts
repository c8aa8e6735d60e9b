/** A host that is given up though it lives: cut off from the control plane, and said to be down. */
import assert from 'node:assert/strict'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { Plane } from '../migration/plane.ts'
import { act, call, operationOn, type Writer } from './writers.ts'

/** Says that the host is dead, as an operator who is sure; or that it is not any more. */
export async function forceDown(plane: Plane, host: string, isDown: boolean): Promise<void> {
  const path = '/os-services'
  const { services } = (await call(plane, 'GET', `${path}?host=${host}`)) as { services: { id: string }[] }
  await call(plane, 'PUT', `${path}/${services[0]?.id}`, { forced_down: isDown })
}

export async function evacuated(plane: Plane, writer: Writer): Promise<Operation> {
  await act(plane, writer, { evacuate: {} })
  const operation = await (await operationOn(plane, writer.serverId, 'server.evacuate')).end()
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

/** From the first call of the fence to its last proof, of the server's newest evacuation. Milliseconds. */
export async function fenceMs(plane: Plane, { serverId }: Writer): Promise<number> {
  const { id } = await operationOn(plane, serverId, 'server.take-over')
  const { history } = await plane.client.ndo.history(id)
  const done = history.findLast(({ event, step }) => event === 'done' && step === 'fence')
  assert.ok(done, 'the evacuation tells of its fence')
  return (done.output as { ms: number }).ms
}
