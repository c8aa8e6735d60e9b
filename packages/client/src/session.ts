import { ApiError, messageIn } from './api-error.ts'

export interface Credentials {
  /** Where Volant listens, without a path: `http://127.0.0.1:8780`. */
  url: string
  username: string
  password: string
  projectName: string
  userDomainName: string
  projectDomainName: string
}

export interface RequestOptions {
  body?: unknown
  /** Values that are undefined are left out. */
  query?: Record<string, string | number | boolean | undefined>
  headers?: Record<string, string>
  signal?: AbortSignal
  /** Milliseconds until the answer's head must be there. Default 30,000. */
  timeoutMs?: number
}

/** A scoped session: authenticates when first needed, and once more when its token is refused. */
export interface Session {
  readonly url: string
  projectId(): Promise<string>
  /** The parsed body; undefined where there is none. Throws `ApiError`. */
  json(method: string, path: string, options?: RequestOptions): Promise<unknown>
  /** The answer as it is, status 2xx. Throws `ApiError`. */
  raw(method: string, path: string, options?: RequestOptions): Promise<Response>
}

interface Token {
  value: string
  projectId: string
}

const addressOf = (url: string, path: string, query: RequestOptions['query']): string => {
  const address = new URL(path, `${url}/`)
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) address.searchParams.set(name, String(value))
  }
  return address.href
}

async function send(url: string, method: string, path: string, options: RequestOptions): Promise<Response> {
  const clock = new AbortController()
  const timer = setTimeout(() => clock.abort(), options.timeoutMs ?? 30_000)
  const signal = options.signal === undefined ? clock.signal : AbortSignal.any([clock.signal, options.signal])
  try {
    return await fetch(addressOf(url, path, options.query), {
      method,
      headers: {
        accept: 'application/json',
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      signal,
    })
  } catch (error) {
    if (options.signal?.aborted === true) throw error
    const why = clock.signal.aborted ? 'does not answer' : 'cannot be reached'
    throw new ApiError(0, `Volant at ${url} ${why}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

async function refused(response: Response, what: string): Promise<ApiError> {
  const text = await response.text().catch(() => '')
  let message: string | undefined
  try {
    message = messageIn(JSON.parse(text))
  } catch {
    // Not JSON; the status has to do.
  }
  return new ApiError(response.status, message ?? `${what}: HTTP ${response.status} ${response.statusText}`)
}

async function authenticate(credentials: Credentials): Promise<Token> {
  const { url, username, password, projectName, userDomainName, projectDomainName } = credentials
  const user = { name: username, password, domain: { name: userDomainName } }
  const body = {
    auth: {
      identity: { methods: ['password'], password: { user } },
      scope: { project: { name: projectName, domain: { name: projectDomainName } } },
    },
  }
  const response = await send(url, 'POST', '/identity/v3/auth/tokens', { body })
  if (response.status === 401) {
    await response.body?.cancel()
    // Keystone does not say which of them is wrong; it helps to know what was tried.
    throw new ApiError(
      401,
      `${url} does not let in user '${username}' of domain '${userDomainName}' with this password for project '${projectName}'`,
    )
  }
  if (!response.ok) throw await refused(response, 'authentication')
  const value = response.headers.get('x-subject-token')
  const answer = (await response.json()) as { token?: { project?: { id?: string } } }
  const projectId = answer.token?.project?.id
  if (value === null || projectId === undefined) {
    throw new ApiError(response.status, `${url} gave no project-scoped token; is it Volant?`)
  }
  return { value, projectId }
}

export function createSession(credentials: Credentials): Session {
  let token: Promise<Token> | undefined
  const currentToken = (): Promise<Token> => {
    token ??= authenticate(credentials).catch((error: unknown) => {
      token = undefined
      throw error
    })
    return token
  }
  const attempt = async (method: string, path: string, options: RequestOptions): Promise<Response> => {
    const { value } = await currentToken()
    const headers = { ...options.headers, 'x-auth-token': value }
    return send(credentials.url, method, path, { ...options, headers })
  }
  const raw: Session['raw'] = async (method, path, options = {}) => {
    let response = await attempt(method, path, options)
    if (response.status === 401) {
      await response.body?.cancel()
      token = undefined
      response = await attempt(method, path, options)
    }
    if (!response.ok) throw await refused(response, `${method} ${path}`)
    return response
  }
  return {
    url: credentials.url,
    projectId: async () => (await currentToken()).projectId,
    raw,
    async json(method, path, options = {}) {
      const response = await raw(method, path, options)
      const text = await response.text()
      return text === '' ? undefined : (JSON.parse(text) as unknown)
    },
  }
}
