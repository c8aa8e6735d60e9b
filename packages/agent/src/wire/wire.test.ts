import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError, type StorageAgent } from '@volant/contract'
import { createTlsAuthority, readTls, type TlsAuthority } from '@volant/qemu'
import { silentLog } from '../daemon/log.ts'
import { createSimulatedStorageAgent } from '../simulated/storage.ts'
import { connectAgents, remoteAgent, type AgentConnection } from './client.ts'
import { callerHeader, connectionHeader, longestRequest } from './protocol.ts'
import { serveAgents, type AgentServer, type PeerTls } from './server.ts'

const name = 'store-a'
const flexvol = { aggregate: 'aggr1', name: 'vol1' }
const ref = { imageId: '6f1f0d2e-0000-4000-8000-000000000001', aggregate: 'aggr1', flexvol: 'vol1' }

let folder = ''
let authority: TlsAuthority
let otherAuthority: TlsAuthority
let control: PeerTls
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vw-'))
  authority = createTlsAuthority(join(folder, 'tls'))
  otherAuthority = createTlsAuthority(join(folder, 'other'))
  control = readTls(await authority.controlPlaneFolder(), 'client')
})
after(() => rmSync(folder, { recursive: true, force: true }))

const agentTls = async (of = authority): Promise<PeerTls> => readTls(await of.agentFolder(name), 'server')

/** A storage agent behind a server, and behind `connection` again. */
class Rig {
  readonly simulated = createSimulatedStorageAgent({ node: 'n1' })
  server!: AgentServer
  connection!: AgentConnection
  agent!: StorageAgent

  async open(tls?: PeerTls, port = 0): Promise<void> {
    this.server = await serveAgents({
      find: (kind, node) => (kind === 'storage' && node === 'n1' ? this.simulated : undefined),
      tls: tls ?? (await agentTls()),
      host: '127.0.0.1',
      port,
      log: silentLog,
    })
  }

  connect(options: { url?: string; tls?: PeerTls } = {}): StorageAgent {
    this.connection?.close()
    this.connection = connectAgents({
      name,
      url: () => options.url ?? this.server.url,
      tls: () => Promise.resolve(options.tls ?? control),
      log: silentLog,
      pingEveryMs: 20,
      connectTimeoutMs: 5000,
    })
    this.agent = remoteAgent<StorageAgent>(this.connection, { kind: 'storage', name: 'n1' }, { node: 'n1' })
    return this.agent
  }

  async close(): Promise<void> {
    this.connection?.close()
    await this.server.close(0)
  }
}

const withCode =
  (code: string, message = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof DomainError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  }
const classOf = (error: unknown): unknown => (error as { class?: unknown }).class

describe('an agent in another process', () => {
  let rig: Rig
  beforeEach(async () => {
    rig = new Rig()
    await rig.open()
    rig.connect()
  })
  afterEach(() => rig.close())

  it('carries calls out there: arguments, results, and the result that is none', async () => {
    await rig.agent.ensureFlexVol({ fence: 1 }, flexvol)
    const info = await rig.agent.ensureImage({ fence: 1, operationId: 'op' }, ref, 65_536)
    assert.deepEqual(info, await rig.simulated.imageInfo(ref))
    assert.equal(
      await rig.agent.imageInfo({ ...ref, imageId: '6f1f0d2e-0000-4000-8000-000000000002' }),
      undefined,
    )
    assert.equal(rig.agent.node, 'n1')
    assert.equal(rig.connection.state.up, true)
  })

  it('throws what the agent throws: the code, and the words', async () => {
    rig.simulated.failNext('aggregateSpace', new DomainError('noCapacity', 'No room.'))
    await assert.rejects(rig.agent.aggregateSpace('aggr1'), withCode('noCapacity', /^No room\.$/))
  })

  it('a fault of the agent itself is internal, and not worth another try', async () => {
    rig.simulated.failNext('aggregateSpace', new TypeError('x is undefined'))
    await assert.rejects(rig.agent.aggregateSpace('aggr1'), withCode('internal', /x is undefined/))
  })

  it('a caller with an old fence is refused there', async () => {
    await rig.agent.ensureFlexVol({ fence: 5 }, flexvol)
    await assert.rejects(rig.agent.ensureFlexVol({ fence: 4 }, flexvol), withCode('staleFence'))
  })

  it('a long call is not cut off while the agent answers pings', async () => {
    const slow = async (): Promise<string> => sleep(1000, 'done')
    Object.assign(rig.simulated, { listExports: slow })
    assert.equal(await rig.agent.listExports(), 'done')
  })

  it('dies in a call: nobody knows whether a change happened; a read did nothing', async () => {
    let begun = 0
    const never = (): Promise<never> => {
      begun += 1
      return new Promise(() => {})
    }
    Object.assign(rig.simulated, { ensureNoExport: never, listExports: never })
    const change = assert.rejects(rig.agent.ensureNoExport({ fence: 1 }, 'e'), (error) => {
      assert.equal(classOf(error), 'unknown')
      return withCode('unavailable', /store-a did not answer the call ensureNoExport/)(error)
    })
    const read = assert.rejects(rig.agent.listExports(), (error) => {
      assert.equal(classOf(error), undefined)
      return withCode('unavailable', /store-a/)(error)
    })
    await until('both calls are under way', () => begun === 2)
    await rig.server.close(0)
    await Promise.all([change, read])
    await until('it is known to be away', () => !rig.connection.state.up)
  })

  it('that is away is unavailable, with its name; back again, calls go on by themselves', async () => {
    await rig.agent.listExports()
    const { port } = new URL(rig.server.url)
    await rig.server.close(0)
    await assert.rejects(rig.agent.ensureNoExport({ fence: 1 }, 'e'), (error) => {
      assert.equal(classOf(error), undefined, 'it was never sent')
      return withCode('unavailable', /The agent store-a is away/)(error)
    })
    await rig.open(undefined, Number(port))
    await until('the connection is there again', () => rig.connection.state.up)
    assert.deepEqual(await rig.agent.listExports(), [])
  })

  it('that ends in order lets the calls under way come to their end', async () => {
    let finish = (): void => {}
    let begun = false
    Object.assign(rig.simulated, {
      listExports: () => {
        begun = true
        return new Promise((resolve) => (finish = () => resolve('done')))
      },
    })
    const call = rig.agent.listExports()
    await until('the call is under way', () => begun)
    const closed = rig.server.close(60_000)
    await until(
      'it is known to be ending',
      () => !rig.connection.state.up || rig.connection.state.reason !== '',
    )
    finish()
    assert.equal(await call, 'done')
    await closed
  })

  it('has no calls but those of the contract', async () => {
    for (const method of ['toString', 'constructor', '__proto__', 'failNext', 'node', 'ensureGuest']) {
      const call = rig.connection.call({ kind: 'storage', name: 'n1', method }, [])
      await assert.rejects(call, withCode('unavailable', /no call/), method)
    }
    const other = rig.connection.call({ kind: 'storage', name: 'n2', method: 'listExports' }, [])
    await assert.rejects(other, withCode('unavailable', /no agent n2/))
  })

  it('an argument that is too large is refused before it is sent; the connection stays', async () => {
    await assert.rejects(rig.agent.aggregateSpace('x'.repeat(longestRequest)), withCode('tooLarge'))
    assert.deepEqual(await rig.agent.listExports(), [])
  })
})

describe('the network between', () => {
  /** Passes bytes on until it is told to swallow them, as a machine without power does. */
  async function openProxy(to: string): Promise<{ url: string; silence(): void; close(): void }> {
    const sockets: Socket[] = []
    let silent = false
    const server: Server = createServer((near) => {
      const far = connectTcp(Number(new URL(to).port), '127.0.0.1')
      sockets.push(near, far)
      for (const socket of [near, far]) socket.on('error', () => {})
      near.on('data', (bytes) => void (silent || far.write(bytes)))
      far.on('data', (bytes) => void (silent || near.write(bytes)))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return {
      url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
      silence: () => (silent = true),
      close: () => {
        for (const socket of sockets) socket.destroy()
        server.close()
      },
    }
  }

  it('falls silent in a call: the call ends, though no connection was closed', async () => {
    const rig = new Rig()
    await rig.open()
    const proxy = await openProxy(rig.server.url)
    try {
      rig.connect({ url: proxy.url })
      let begun = false
      Object.assign(rig.simulated, { ensureNoExport: () => new Promise(() => (begun = true)) })
      const call = rig.agent.ensureNoExport({ fence: 1 }, 'e')
      await until('the call is under way', () => begun)
      proxy.silence()
      await assert.rejects(call, (error) => {
        assert.equal(classOf(error), 'unknown')
        return withCode('unavailable', /pings unanswered/)(error)
      })
    } finally {
      proxy.close()
      await rig.close()
    }
  })
})

describe('certificates', () => {
  let rig: Rig
  beforeEach(() => {
    rig = new Rig()
  })
  afterEach(() => rig.close())

  it("a data-plane host's certificate may not call an agent", async () => {
    await rig.open()
    const host = readTls(await authority.clientFolder('host-1'), 'client')
    rig.connect({ tls: host })
    await assert.rejects(rig.agent.listExports(), withCode('unavailable', /only the control plane may call/))
    assert.deepEqual(rig.simulated.calls, [])
  })

  it("another installation's control plane is refused, and so is another installation's agent", async () => {
    await rig.open()
    const foreign = readTls(await otherAuthority.controlPlaneFolder(), 'client')
    rig.connect({ tls: { ...foreign, ca: control.ca } })
    await assert.rejects(rig.agent.listExports(), withCode('unavailable', /is away/))
    rig.connect({ tls: foreign })
    await assert.rejects(rig.agent.listExports(), withCode('unavailable', /is away/))
    assert.deepEqual(rig.simulated.calls, [])
  })

  it('a server that has another name, or is no agent, is not believed', async () => {
    const wrong = [
      readTls(await authority.agentFolder('store-b'), 'server'),
      readTls(await authority.serverFolder(name, '127.0.0.1'), 'server'),
    ]
    for (const tls of wrong) {
      await rig.open(tls)
      rig.connect()
      await assert.rejects(
        rig.agent.listExports(),
        withCode('unavailable', /answers another one than the agent/),
      )
      await rig.close()
    }
    await rig.open()
    assert.deepEqual(rig.simulated.calls, [])
  })
})

describe('what is no call', () => {
  let rig: Rig
  before(async () => {
    rig = new Rig()
    await rig.open()
  })
  after(() => rig.close())

  /** One request with the control plane's certificate, whatever it holds. */
  async function request(
    path: string,
    body: string | Buffer,
    httpMethod = 'POST',
    more: Record<string, string> = {},
  ): Promise<number> {
    const session = connectHttp2(rig.server.url, { ...control, checkServerIdentity: () => undefined })
    session.on('error', () => {})
    try {
      return await new Promise<number>((resolve, reject) => {
        const stream = session.request({ ':method': httpMethod, ':path': path, ...more })
        stream.on('response', (headers) => resolve(headers[':status'] ?? 0))
        stream.on('error', reject)
        stream.on('close', () => reject(new Error('closed without an answer')))
        if (httpMethod === 'GET') stream.end()
        else stream.end(body)
      })
    } finally {
      session.destroy()
    }
  }

  const read = '/v1/storage/n1/listExports'
  const change = '/v1/storage/n1/ensureNoExport'
  const cases: [what: string, status: number, path: string, body: string | Buffer, httpMethod?: string][] = [
    ['no JSON', 400, read, '{'],
    ['no text', 400, read, Buffer.from([0xff, 0xfe, 0x00])],
    ['nothing', 400, read, ''],
    ['null', 400, read, 'null'],
    ['no arguments', 400, read, '{}'],
    ['arguments that are no list', 400, read, '{"args":{"length":1}}'],
    ['a change without a caller', 400, change, '{"args":["export"]}'],
    ['a change by null', 400, change, '{"args":[null,"export"]}'],
    ['a fence that is no whole number', 400, change, '{"args":[{"fence":1.5},"export"]}'],
    ['an operation that is no text', 400, change, '{"args":[{"fence":1,"operationId":{}},"export"]}'],
    ['a body that is too large', 413, read, Buffer.alloc(longestRequest + 1, 0x20)],
    ['no call', 404, '/', '{"args":[]}'],
    ['a path with a rest', 404, `${read}/x`, '{"args":[]}'],
    ['a name that cannot be decoded', 404, '/v1/storage/%/listExports', '{"args":[]}'],
    ['an unknown kind', 404, '/v1/__proto__/n1/listExports', '{"args":[]}'],
    ['a GET', 405, read, '', 'GET'],
  ]
  for (const [what, status, path, body, httpMethod] of cases) {
    it(`${what}: ${status}`, async () => {
      assert.equal(await request(path, body, httpMethod), status)
      assert.deepEqual(rig.simulated.calls, [])
    })
  }

  const closed = (socket: Socket): Promise<void> =>
    new Promise((resolve) => {
      socket.on('error', () => {})
      socket.on('close', () => resolve())
      socket.resume()
    })
  it('neither TLS nor HTTP/2: the connection is closed', async () => {
    const port = Number(new URL(rig.server.url).port)
    const plain = connectTcp(port, '127.0.0.1', () => plain.write('GET / HTTP/1.1\r\n\r\n'))
    await closed(plain)
    const options = { port, host: '127.0.0.1', ...control, checkServerIdentity: () => undefined }
    const http1 = connectTls({ ...options, ALPNProtocols: ['http/1.1'] }, () => {
      http1.write('POST /v1/storage/n1/listExports HTTP/1.1\r\nhost: n1\r\n\r\n')
    })
    await closed(http1)
    const noise = connectTls({ ...options, ALPNProtocols: ['h2'] }, () =>
      noise.write(Buffer.alloc(4096, 0xa5)),
    )
    await closed(noise)
    assert.deepEqual(rig.simulated.calls, [])
  })

  it('and after all that it serves calls', async () => {
    assert.deepEqual(await rig.connect().listExports(), [])
  })

  it('a call of a connection that its caller gave up for a newer one changes nothing', async () => {
    const call = async (callerId: string, connection: number, name: string): Promise<number> => {
      const args = JSON.stringify({ args: [{ fence: 1 }, { aggregate: 'aggr1', name }] })
      const headers = { [callerHeader]: callerId, [connectionHeader]: String(connection) }
      return request('/v1/storage/n1/ensureFlexVol', args, 'POST', headers)
    }
    assert.equal(await call('a', 1, 'first'), 200)
    assert.equal(await call('a', 2, 'second'), 200)
    assert.equal(await call('a', 1, 'late'), 409)
    assert.equal(await call('b', 1, 'of another caller'), 200)
    assert.equal(await call('a', 2, 'third'), 200)
    const made = rig.simulated.calls.filter((name) => name === 'ensureFlexVol')
    assert.equal(made.length, 4)
  })
})
