import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { ApiError, createClient, type VolantClient } from './index.ts'
import { serverSentEvents } from './server-sent-events.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void

let server: Server
let client: VolantClient
let tokens = 0
let answers: Answer[] = []
let seen: string[] = []

const json =
  (status: number, body: unknown): Answer =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
const operation = (state: string) => ({ id: 'op', state })
const event = (name: string, state: string): string =>
  `event: ${name}\ndata: ${JSON.stringify(operation(state))}\n\n`

before(async () => {
  server = createServer((request, response) => {
    if (request.url === '/identity/v3/auth/tokens') {
      tokens++
      response.setHeader('x-subject-token', `token-${tokens}`)
      json(201, { token: { project: { id: 'p1' } } })(request, response)
      return
    }
    seen.push(`${request.method} ${request.url} ${String(request.headers['x-auth-token'])}`)
    const answer = answers.shift()
    if (answer === undefined) json(500, { error: { message: 'no more answers' } })(request, response)
    else answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
after(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  tokens = 0
  answers = []
  seen = []
  client = createClient({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    username: 'admin',
    password: 'x',
    projectName: 'admin',
    userDomainName: 'Default',
    projectDomainName: 'Default',
  })
})

const collect = async (watching: AsyncIterable<{ state: string }>): Promise<string[]> => {
  const states: string[] = []
  for await (const { state } of watching) states.push(state)
  return states
}

describe('a session', () => {
  it('authenticates once for many requests', async () => {
    answers = [json(200, { operation: operation('running') }), json(200, { operation: operation('running') })]
    await client.ndo.operation('op')
    await client.ndo.pause('op')
    assert.equal(tokens, 1)
    assert.deepEqual(seen, ['GET /ndo/v1/operations/op token-1', 'POST /ndo/v1/operations/op/pause token-1'])
  })

  it('authenticates again where its token has expired', async () => {
    answers = [json(401, { error: { message: 'expired' } }), json(200, { operation: operation('running') })]
    await client.ndo.operation('op')
    assert.deepEqual(
      seen.map((line) => line.split(' ').at(-1)),
      ['token-1', 'token-2'],
    )
  })

  it("reports the service's message in each envelope", async () => {
    answers = [json(404, { itemNotFound: { code: 404, message: 'Volume x could not be found.' } })]
    await assert.rejects(
      client.volume.show('x'),
      (error: ApiError) => error.status === 404 && error.message === 'Volume x could not be found.',
    )
    answers = [(_, response) => void response.writeHead(502).end('<html>')]
    await assert.rejects(client.volume.show('x'), /GET \/volume\/v3\/p1\/volumes\/x: HTTP 502/)
  })

  it('says that nobody answers where nobody does', async () => {
    const none = createClient({
      url: 'http://127.0.0.1:1',
      username: 'a',
      password: 'b',
      projectName: 'c',
      userDomainName: 'd',
      projectDomainName: 'e',
    })
    await assert.rejects(
      none.ndo.status(),
      (error: ApiError) => error.status === 0 && /cannot be reached/.test(error.message),
    )
  })
})

const streaming =
  (...chunks: string[]): Answer =>
  (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const chunk of chunks) response.write(chunk)
    response.end()
  }

describe('watching an operation', () => {
  it('yields each state up to the last', async () => {
    const whole = `: hello\n\n${event('progress', 'running')}${event('progress', 'paused')}${event('end', 'succeeded')}`
    answers = [streaming(whole.slice(0, 40), whole.slice(40))]
    assert.deepEqual(await collect(client.ndo.watch('op')), ['running', 'paused', 'succeeded'])
  })

  it('begins again where the stream breaks: a restart of the control plane is not an event', async () => {
    answers = [
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(event('progress', 'running'), () => response.destroy())
      },
      (_, response) => void response.destroy(),
      streaming(event('progress', 'running'), event('end', 'failed')),
    ]
    assert.deepEqual(await collect(client.ndo.watch('op')), ['running', 'running', 'failed'])
  })

  it('gives up on an operation that is not there', async () => {
    answers = [json(404, { error: { message: 'no such operation' } })]
    await assert.rejects(collect(client.ndo.watch('op')), /no such operation/)
  })

  it('ends at once when the watcher leaves', async () => {
    answers = [
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(event('progress', 'running'))
      },
    ]
    const leave = new AbortController()
    const states: string[] = []
    for await (const { state } of client.ndo.watch('op', { signal: leave.signal })) {
      states.push(state)
      leave.abort()
    }
    assert.deepEqual(states, ['running'])
  })
})

describe('server-sent events', () => {
  it('survive any cut of the bytes', async () => {
    const bytes = new TextEncoder().encode(`:c\r\n\r\nevent: a\r\ndata: é\r\ndata: 2\r\n\r\ndata:x\n\n`)
    for (let cut = 1; cut < bytes.length; cut++) {
      const parts = async function* (): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, cut)
        yield bytes.subarray(cut)
      }
      const events: unknown[] = []
      for await (const found of serverSentEvents(parts())) events.push(found)
      assert.deepEqual(
        events,
        [
          { event: 'a', data: 'é\n2' },
          { event: 'message', data: 'x' },
        ],
        `cut at ${cut}`,
      )
    }
  })
})
