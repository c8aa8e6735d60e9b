import assert from 'node:assert/strict'
import { pino } from 'pino'
import { identityRig, type IdentityRig } from '../identity/testing.ts'
import { createImages, type Images } from './service.ts'

export interface ImageBody {
  id: string
  status: string
  size: number | null
  [name: string]: unknown
}

export interface ImageRig {
  rig: IdentityRig
  images: Images
  admin: string
  /** Tokens of two users, each with the role `member` in a project of its own. */
  alice: string
  bob: string
  bobProject: string
  create(token: string, body: Record<string, unknown>): Promise<ImageBody>
  upload(
    token: string,
    id: string,
    data: Buffer,
    type?: string,
  ): Promise<{ statusCode: number; body: string }>
  show(token: string, id: string): Promise<{ status: number; body: ImageBody }>
  /** The status that a request below `/image/v2/images/` gets. */
  status(method: string, token: string, path: string, body?: unknown): Promise<number>
}

export const raw = { disk_format: 'raw', container_format: 'bare' }
export const maxImageBytes = 8 * 1024 * 1024
export const asJson = (token: string) => ({ 'x-auth-token': token, accept: 'application/json' })

/** A server in memory with identity and images, which also listens on a free port. */
export async function imageRig(): Promise<ImageRig> {
  let made: Images | undefined
  const rig = await identityRig(async ({ db, identity, stateDir, clock }) => {
    const log = pino({ level: 'silent' })
    made = await createImages({ db, stateDir, clock, log, tokens: identity.tokens, maxImageBytes })
    return [made.service]
  })
  await rig.app.listen({ host: '127.0.0.1', port: 0 })
  const admin = await rig.adminToken()
  const alice = await member(rig, admin, 'alice')
  const bob = await member(rig, admin, 'bob')
  return {
    rig,
    images: made as Images,
    admin,
    alice: alice.token,
    bob: bob.token,
    bobProject: bob.project,
    ...requests(rig),
  }
}

const requests = (rig: IdentityRig): Pick<ImageRig, 'create' | 'upload' | 'show' | 'status'> => ({
  async create(token, body) {
    const answer = await rig.call<ImageBody>('POST', '/image/v2/images', { token, body })
    assert.equal(answer.status, 201, JSON.stringify(answer.body))
    return answer.body
  },
  upload: (token, id, data, type = 'application/octet-stream') =>
    rig.app.inject({
      method: 'PUT',
      url: `/image/v2/images/${id}/file`,
      headers: { 'x-auth-token': token, 'content-type': type },
      payload: data,
    }),
  async show(token, id) {
    const answer = await rig.app.inject({ url: `/image/v2/images/${id}`, headers: asJson(token) })
    return { status: answer.statusCode, body: answer.json() }
  },
  async status(method, token, path, body) {
    const options = body === undefined ? { token } : { token, body }
    return (await rig.call(method, `/image/v2/images/${path}`, options)).status
  },
})

async function member(
  rig: IdentityRig,
  admin: string,
  name: string,
): Promise<{ token: string; project: string }> {
  const post = async (path: string, kind: string, body: unknown): Promise<string> => {
    const options = { token: admin, body: { [kind]: body } }
    return (await rig.call<Record<string, { id: string }>>('POST', path, options)).body[kind]?.id as string
  }
  const project = await post('/projects', 'project', { name })
  const user = await post('/users', 'user', { name, password: name })
  const roles = await rig.call<{ roles: { id: string }[] }>('GET', '/roles?name=member', { token: admin })
  const grant = `/projects/${project}/users/${user}/roles/${roles.body.roles[0]?.id}`
  await rig.call('PUT', grant, { token: admin })
  return { token: await rig.login(name, name, name), project }
}
