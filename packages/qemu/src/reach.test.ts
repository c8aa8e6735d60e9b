import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { unreachable } from './reach.ts'

test('an address where somebody listens is reached; of another one it is said why not', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  assert.equal(await unreachable({ host: '127.0.0.1', port }), null)
  server.close()
  await once(server, 'close')
  assert.match((await unreachable({ host: '127.0.0.1', port })) ?? '', /refused/)
})
