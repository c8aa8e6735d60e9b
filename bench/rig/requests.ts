import { Agent, request } from 'node:http'
import type { Credentials } from '@volant/client'

export interface Answer {
  status: number
  text: string
  headers: Record<string, string | string[] | undefined>
  /** From sending the request to the last byte of the answer. */
  ms: number
}

/** Plain HTTP over connections that stay open, with a token that is there already: what a service's client does. */
export interface Requests {
  projectId: string
  userId: string
  token: string
  /** Throws unless the answer is 2xx. */
  send(method: string, path: string, body?: unknown): Promise<Answer>
  close(): void
}

/** Authenticates once, for the scope of the credentials' project. */
export async function openRequests(credentials: Credentials): Promise<Requests> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const headers: Record<string, string> = {
    accept: 'application/json',
    'openstack-api-version': 'volume 3.70',
  }
  const send: Requests['send'] = (method, path, body) =>
    new Promise((resolve, reject) => {
      const begun = performance.now()
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const options = { agent, method, headers: { ...headers, ...type } }
      const sent = request(new URL(path, credentials.url), options, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('error', reject)
        response.on('end', () => {
          const ms = performance.now() - begun
          const text = Buffer.concat(parts).toString('utf8')
          const status = response.statusCode ?? 0
          if (status >= 200 && status < 300) resolve({ status, text, headers: response.headers, ms })
          else reject(new Error(`${method} ${path} gave HTTP ${status}: ${text.slice(0, 300)}`))
        })
      })
      sent.on('error', reject)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })
  const { headers: answered, text } = await send(
    'POST',
    '/identity/v3/auth/tokens',
    authentication(credentials),
  )
  const subject = String(answered['x-subject-token'])
  headers['x-auth-token'] = subject
  const { token } = JSON.parse(text) as { token: { project: { id: string }; user: { id: string } } }
  return {
    projectId: token.project.id,
    userId: token.user.id,
    token: subject,
    send,
    close: () => agent.destroy(),
  }
}

function authentication(credentials: Credentials) {
  const { username, password, projectName, userDomainName, projectDomainName } = credentials
  const user = { name: username, password, domain: { name: userDomainName } }
  return {
    auth: {
      identity: { methods: ['password'], password: { user } },
      scope: { project: { name: projectName, domain: { name: projectDomainName } } },
    },
  }
}

/** `clients` take turns until `count` requests were made; latencies of each, and how many each second in all. */
export async function drive(
  requests: Requests,
  load: { clients: number; count: number; path: (i: number) => string },
): Promise<{ latencies: number[]; perSecond: number }> {
  const latencies: number[] = []
  let next = 0
  const begun = performance.now()
  const one = async (): Promise<void> => {
    while (next < load.count) {
      next += 1
      latencies.push((await requests.send('GET', load.path(next))).ms)
    }
  }
  await Promise.all(Array.from({ length: load.clients }, one))
  return { latencies, perSecond: load.count / ((performance.now() - begun) / 1000) }
}
