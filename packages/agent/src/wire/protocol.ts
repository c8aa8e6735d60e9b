/**
 * How an agent's calls cross to another process: HTTP/2 over mutual TLS, `POST /v1/KIND/NAME/METHOD` with
 * `{"args": […]}`, answered by `{"result": …}` or `{"error": {code, message}}`.
 */
import { DomainError, errorCodes, isDomainError, messageOf } from '@volant/contract'
import type { AgentKind, ErrorCode, MethodKind } from '@volant/contract'

/** Bytes of a request's body. The largest arguments are a guest's disks. */
export const longestRequest = 1024 * 1024
/** Bytes of an answer. The largest are lists of images, and a console's end. */
export const longestAnswer = 64 * 1024 * 1024

/**
 * Which connection a call came on: a caller's own id, and the number of its connection. What lies unread in a
 * connection that was given up may be read after the calls of the next one: it would undo what those did, and the fence
 * number, which is the same, would not stop it. So an agent refuses a call of an older connection of the same caller.
 */
export const callerHeader = 'volant-caller'
export const connectionHeader = 'volant-connection'

export interface CallTarget {
  kind: AgentKind
  /** The storage node's, machine's or compute host's name. */
  name: string
  method: string
}

export const pathOf = ({ kind, name, method }: CallTarget): string =>
  `/v1/${kind}/${encodeURIComponent(name)}/${method}`

/** Undefined for a path that is no call's. */
export function targetOf(path: string): { kind: string; name: string; method: string } | undefined {
  const [empty, version, kind, name, method, ...rest] = path.split('/')
  if (empty !== '' || version !== 'v1' || rest.length > 0) return undefined
  if (kind === undefined || name === undefined || method === undefined) return undefined
  try {
    return { kind, name: decodeURIComponent(name), method }
  } catch {
    return undefined
  }
}

export interface WireError {
  code: ErrorCode
  message: string
  /** For the caller's log. */
  detail?: string
}

export type Answer = { result?: unknown } | { error: WireError }

/** JSON has no `undefined`: an argument that is left out at the end is left out, any other would become `null`. */
export function encodeArguments(args: readonly unknown[]): string {
  let count = args.length
  while (count > 0 && args[count - 1] === undefined) count -= 1
  const given = args.slice(0, count)
  if (given.includes(undefined)) {
    throw new DomainError('internal', 'An argument before the last one is undefined; JSON cannot say that.')
  }
  return JSON.stringify({ args: given })
}

export function encodeError(error: unknown): WireError {
  const code = isDomainError(error) ? error.code : 'internal'
  const detail = isDomainError(error) ? error.detail : error instanceof Error ? error.stack : undefined
  return {
    code,
    message: messageOf(error),
    ...(typeof detail === 'string' ? { detail: detail.slice(0, 4000) } : {}),
  }
}

/** The error as the agent threw it; undefined where the text is no error of ours. */
export function decodeError(value: unknown): DomainError | undefined {
  const { code, message, detail } = (value ?? {}) as Record<string, unknown>
  if (typeof code !== 'string' || !Object.hasOwn(errorCodes, code) || typeof message !== 'string') {
    return undefined
  }
  return new DomainError(code as ErrorCode, message, { detail })
}

/**
 * The agent did not answer a call that it may have carried out. `class` is for the engine of operations: nobody
 * knows whether it happened, and since every call is an "ensure" it is made again.
 */
export class AnswerLost extends DomainError {
  readonly class = 'unknown'

  constructor(message: string, cause: unknown) {
    super('unavailable', message, { cause })
  }
}

/** What becomes of a call that was sent and not answered. */
export const unanswered = (kind: MethodKind, message: string, cause: unknown): DomainError =>
  kind === 'read' ? new DomainError('unavailable', message, { cause }) : new AnswerLost(message, cause)
