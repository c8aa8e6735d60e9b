import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Credentials } from '@volant/client'
import { parse } from 'yaml'
import { CliError, exitCodes } from '../exit-codes.ts'

interface CloudsFile {
  clouds?: {
    volant?: {
      auth: {
        auth_url: string
        username: string
        password: string
        project_name: string
        user_domain_name: string
        project_domain_name: string
      }
    }
  }
}

const baseOf = (authUrl: string): string => authUrl.replace(/\/identity(\/v3)?\/?$/, '')

/** From the environment, as `source openrc` sets it; undefined where it is not (wholly) there. */
export function environmentCredentials(env: NodeJS.ProcessEnv = process.env): Credentials | undefined {
  const { OS_AUTH_URL: url, OS_USERNAME: username, OS_PASSWORD: password, OS_PROJECT_NAME: project } = env
  if (url === undefined || username === undefined || password === undefined || project === undefined)
    return undefined
  return {
    url: baseOf(url),
    username,
    password,
    projectName: project,
    userDomainName: env['OS_USER_DOMAIN_NAME'] ?? 'Default',
    projectDomainName: env['OS_PROJECT_DOMAIN_NAME'] ?? 'Default',
  }
}

/**
 * Who to be, and where: with `--state` the administrator of that folder's `clouds.yaml`; else what `openrc` has
 * put into the environment; else the default state folder's.
 */
export async function findCredentials(
  stateDir: string,
  stateGiven: boolean,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials> {
  const fromEnv = stateGiven ? undefined : environmentCredentials(env)
  if (fromEnv !== undefined) return fromEnv
  const path = join(stateDir, 'clouds.yaml')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new CliError(
      exitCodes.notFound,
      missing
        ? `Volant has not run with the state folder ${stateDir}; start it with: volant up --state ${stateDir}`
        : `cannot read ${path}: ${(error as Error).message}`,
      { cause: error },
    )
  }
  const auth = (parse(text) as CloudsFile).clouds?.volant?.auth
  if (auth === undefined) throw new CliError(exitCodes.failed, `${path} holds no cloud named volant`)
  return {
    url: baseOf(auth.auth_url),
    username: auth.username,
    password: auth.password,
    projectName: auth.project_name,
    userDomainName: auth.user_domain_name,
    projectDomainName: auth.project_domain_name,
  }
}
