import type { ImageAccess } from '@volant/contract'

/** Fixed names inside a storage daemon: each has a process of its own, so they need not be unique. */
export const daemonNames = {
  export: 'x',
  throttleGroup: 'tg0',
  /** The throttle filter: the export stands on it always, and a mirror's source is this node. */
  throttleNode: 't0',
  /** What a head or an export in standby stands on. */
  standbyNode: 'standby',
  /** Of a copy of an instant: the filter below the throttle, and the image as it was at that instant. */
  copyBeforeWrite: 'before-write',
  instant: 'instant',
  tlsCredentials: 'tls0',
  tlsAuthorization: 'authz0',
  monitor: 'qmp0',
  guardMonitor: 'qmp1',
} as const

/** The descriptor at which `launch run --take` passes the listening socket. */
const listenerDescriptor = '3'

/**
 * Seconds that requests wait for a lost export to come back: long on what a client runs on, so that a restart is a
 * pause and no error; short on a mirror's target, so that a dead one is an error soon and can be closed.
 */
export const reconnectDelay = { client: 60, mirrorTarget: 1 } as const

export type AioMode = 'io_uring' | 'threads'

export interface BlockdevOptions {
  nodeName: string
  aio: AioMode
  /** Seconds; NBD only. */
  reconnectDelaySeconds: number
  /** The same daemon has the image open already, and with it the file's lock. */
  isSecondOpen?: boolean
  /**
   * A request that writes nothing but zeroes makes a hole. A copy's target has this, for a source may have lost its holes; a
   * mirror writes a MiB at a time, so what gets its hole back is a run of zeroes of that length.
   */
  makesHoles?: boolean
}

/** The `blockdev-add` arguments that open an image. The format is named, never probed; what is open is locked. */
export function imageBlockdev(image: ImageAccess, options: BlockdevOptions): Record<string, unknown> {
  const zeroes = options.makesHoles === true ? { 'detect-zeroes': 'unmap' } : {}
  if (image.kind === 'file') {
    const file = {
      driver: 'file',
      filename: image.path,
      aio: options.aio,
      locking: options.isSecondOpen === true ? 'off' : 'on',
      discard: 'unmap',
      cache: { direct: true },
    }
    return {
      driver: 'raw',
      'node-name': options.nodeName,
      discard: 'unmap',
      ...zeroes,
      cache: { direct: true },
      file,
    }
  }
  return {
    driver: 'nbd',
    'node-name': options.nodeName,
    server: { type: 'inet', host: image.host, port: String(image.port) },
    export: image.exportName,
    'reconnect-delay': options.reconnectDelaySeconds,
    discard: 'unmap',
    ...zeroes,
    'tls-creds': daemonNames.tlsCredentials,
    'tls-hostname': image.tlsHostname,
  }
}

/**
 * A disk of that size on which every request fails, for a head or an export that has no image (yet). But a flush: nothing was ever
 * acknowledged that it could lose, and QEMU flushes what it takes out of a graph, so one that failed would hold the image
 * off, too. `read-zeroes` is off for good measure: nobody ever takes this for an empty disk.
 */
export const standbyBlockdev = (sizeBytes: number): Record<string, unknown> => ({
  driver: 'blkdebug',
  'node-name': daemonNames.standbyNode,
  image: { driver: 'null-co', size: sizeBytes, 'read-zeroes': false },
  'inject-error': ['read', 'write', 'write-zeroes', 'discard', 'block-status'].map((iotype) => ({
    event: 'none',
    iotype,
    errno: inputOutputError,
    once: false,
    immediately: true,
  })),
})

/** EIO */
const inputOutputError = 5

/**
 * Copy data in flight: the knob that decides how fast a copy is and what a client beside it feels. QEMU moves a MiB at
 * a time, so with 1 MiB reading and writing never overlap (measured, ÷ `qemu-img convert`: 0.80, client's p99 12 ms);
 * with 2 MiB they do (1.28, 18 ms); 4 MiB are for volumes that have no client (1.43, 83 ms).
 */
const mirrorBufferBytes = { besideClient: 2 * 1024 * 1024, alone: 4 * 1024 * 1024 } as const

/** `background` (write-blocking corrupts QEMU's heap), and small buffers for the client's latency. */
export const mirrorArguments = (
  jobId: string,
  target: string,
  replaces: string,
  copy: {
    /** Bytes per second; 0: unlimited. */
    rate: number
    besideClient: boolean
    /** Bytes; absent: as fits `besideClient`. */
    inFlightBytes?: number
    /** What is written from the start on, and nothing else. */
    changesOnly?: boolean
  },
) => ({
  'job-id': jobId,
  device: daemonNames.throttleNode,
  target,
  replaces,
  sync: copy.changesOnly === true ? 'none' : 'full',
  'copy-mode': 'background',
  // Only 4096 keeps the target as thin as the source.
  granularity: 4096,
  'buf-size': copy.inFlightBytes ?? mirrorBufferBytes[copy.besideClient ? 'besideClient' : 'alone'],
  speed: copy.rate,
  'auto-finalize': false,
  'auto-dismiss': false,
  // A target in trouble pauses the job and can be mended; a source that cannot be read is no source.
  'on-target-error': 'stop',
  'on-source-error': 'report',
})

export interface DaemonGraph {
  qmpPath: string
  /** A second monitor: each serves one connection, and a cutover's guard must not depend on who has the first. */
  guardPath?: string
  objects?: Record<string, unknown>[]
  blockdevs: Record<string, unknown>[]
  /** An NBD server at the socket passed by the launcher. */
  nbdServer?: { tlsCreds?: string; tlsAuthz?: string }
  exports?: Record<string, unknown>[]
}

/**
 * Arguments of qemu-storage-daemon. All of the graph stands on the command line, which the daemon works off before
 * it serves anybody: a client that waits in the socket's backlog never meets a daemon without its export.
 */
export function daemonArguments(graph: DaemonGraph): string[] {
  const { nbdServer, qmpPath, guardPath } = graph
  const args = monitorArguments(daemonNames.monitor, qmpPath)
  if (guardPath !== undefined) args.push(...monitorArguments(daemonNames.guardMonitor, guardPath))
  for (const object of graph.objects ?? []) args.push('--object', JSON.stringify(object))
  for (const blockdev of graph.blockdevs) args.push('--blockdev', JSON.stringify(blockdev))
  if (nbdServer) {
    const { tlsCreds, tlsAuthz } = nbdServer
    const server = {
      addr: { type: 'fd', str: listenerDescriptor },
      'max-connections': 0,
      ...(tlsCreds === undefined ? {} : { 'tls-creds': tlsCreds }),
      ...(tlsAuthz === undefined ? {} : { 'tls-authz': tlsAuthz }),
    }
    args.push('--nbd-server', JSON.stringify(server))
  }
  for (const one of graph.exports ?? []) args.push('--export', JSON.stringify(one))
  return args
}

const monitorArguments = (id: string, path: string): string[] => [
  '--chardev',
  `socket,id=${id},path=${doubleCommas(path)},server=on,wait=off`,
  '--monitor',
  `chardev=${id}`,
]

export const nbdExport = (node: string, name: string, description: string): Record<string, unknown> => ({
  type: 'nbd',
  id: daemonNames.export,
  'node-name': node,
  name,
  description,
  writable: true,
})

/** A mirror reads its source through the throttle filter, too: a limit on reads or on the total holds the copy back. */
interface ThrottleLimits {
  iopsTotal?: number
  bpsTotal?: number
  bpsWrite?: number
}

export const throttleGroup = (limits: ThrottleLimits): Record<string, unknown> => ({
  'qom-type': 'throttle-group',
  id: daemonNames.throttleGroup,
  limits: throttleLimits(limits),
})

export const throttleLimits = (limits: ThrottleLimits): Record<string, unknown> => ({
  'iops-total': limits.iopsTotal ?? 0,
  'bps-total': limits.bpsTotal ?? 0,
  'bps-write': limits.bpsWrite ?? 0,
})

export const throttleBlockdev = (child: string): Record<string, unknown> => ({
  driver: 'throttle',
  'node-name': daemonNames.throttleNode,
  'throttle-group': daemonNames.throttleGroup,
  file: child,
})

/** Seconds that a client's write waits at most for a target to take what it replaces; after it the copy is given up. */
const copyBeforeWriteSeconds = 3

/** Keeps what a write replaces, as long as the target takes it: the client's write succeeds either way. */
export const copyBeforeWriteBlockdev = (image: string, target: string): Record<string, unknown> => ({
  driver: 'copy-before-write',
  'node-name': daemonNames.copyBeforeWrite,
  file: image,
  target,
  'on-cbw-error': 'break-snapshot',
  'cbw-timeout': copyBeforeWriteSeconds,
})

export const instantBlockdev = (): Record<string, unknown> => ({
  driver: 'snapshot-access',
  'node-name': daemonNames.instant,
  file: daemonNames.copyBeforeWrite,
})

export const tlsCredentials = (folder: string, endpoint: 'client' | 'server'): Record<string, unknown> => ({
  'qom-type': 'tls-creds-x509',
  id: daemonNames.tlsCredentials,
  dir: folder,
  endpoint,
  'verify-peer': true,
})

/** Admits clients by the distinguished name of their certificate, in DER order; `*` stands for any text. */
export const tlsAuthorization = (pattern: string): Record<string, unknown> => ({
  'qom-type': 'authz-list',
  id: daemonNames.tlsAuthorization,
  policy: 'deny',
  rules: [{ match: pattern, policy: 'allow', format: pattern.includes('*') ? 'glob' : 'exact' }],
})

const doubleCommas = (text: string): string => text.replaceAll(',', ',,')
