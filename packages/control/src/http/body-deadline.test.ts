import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, before, test } from 'node:test'
import Fastify from 'fastify'
import { limitBodyTime } from './body-deadline.ts'

const app = Fastify()
let failed = 0
before(async () => {
  limitBodyTime(app, 200)
  app.addHook('onError', async () => {
    failed++
  })
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload))
  app.post('/json', (request) => request.body)
  app.post('/stream', { config: { streams: true } }, async (request) => {
    let bytes = 0
    for await (const chunk of request.body as AsyncIterable<Buffer>) bytes += chunk.length
    return { bytes }
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
})
after(() => app.close())

const open = (path: string, type: string) => {
  const { port } = app.server.address() as AddressInfo
  return httpRequest({ host: '127.0.0.1', port, method: 'POST', path, headers: { 'content-type': type } })
}

test('a body that does not come is given up; one that streams has all the time', async () => {
  const slow = open('/json', 'application/json')
  slow.write('{"a":')
  await assert.rejects(once(slow, 'response'))
  assert.equal(failed, 1)

  const stream = open('/stream', 'application/octet-stream')
  stream.write('x')
  await sleep(400)
  stream.end('y')
  const [answer] = await once(stream, 'response')
  assert.equal(answer.statusCode, 200)
  answer.resume()

  const quick = open('/json', 'application/json')
  quick.end('{"a":1}')
  const [right] = await once(quick, 'response')
  assert.equal(right.statusCode, 200)
  right.resume()
  await sleep(300)
  assert.equal(failed, 1)
})
