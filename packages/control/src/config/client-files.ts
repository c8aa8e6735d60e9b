import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'

export interface ClientFiles {
  stateDir: string
  /** Where Volant listens, without a path: `http://127.0.0.1:8780`. */
  url: string
  username: string
  password: string
  projectName: string
  /** Domain of user and project, by name. */
  domainName: string
  region: string
}

/** Single quotes keep every character from the shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/**
 * The Block Storage microversion for the clients: `openstack` sends none unless told, `cinder` its own highest.
 * With this both say the same.
 */
const volumeApiVersion = '3.70'

/**
 * The Compute microversion for the clients: `openstack` sends 2.1 unless told, and then refuses `--nic none` by
 * itself, which came with 2.37.
 */
const computeApiVersion = '2.90'

// There is none for shares: `manila` and `openstack share` ask the service, and take the highest that both know.

/** For `source`, in sh and bash; leaves no variable of another cloud behind. */
function openrcText(files: Omit<ClientFiles, 'stateDir'>): string {
  const variables: [string, string][] = [
    ['OS_AUTH_TYPE', 'password'],
    ['OS_AUTH_URL', `${files.url}/identity/v3`],
    ['OS_IDENTITY_API_VERSION', '3'],
    ['OS_USERNAME', files.username],
    ['OS_PASSWORD', files.password],
    ['OS_USER_DOMAIN_NAME', files.domainName],
    ['OS_PROJECT_NAME', files.projectName],
    ['OS_PROJECT_DOMAIN_NAME', files.domainName],
    ['OS_REGION_NAME', files.region],
    ['OS_VOLUME_API_VERSION', volumeApiVersion],
    ['OS_COMPUTE_API_VERSION', computeApiVersion],
  ]
  const host = new URL(files.url).hostname
  return [
    '# The administrator of this Volant. Use: source openrc; cinder list; manila list; openstack server list',
    'for _volant_name in $(env | sed -n "s/^\\(OS_[A-Z0-9_]*\\)=.*/\\1/p"); do unset "$_volant_name"; done',
    'unset _volant_name',
    ...variables.map(([name, value]) => `export ${name}=${quoted(value)}`),
    `case ",\${no_proxy-}," in *",${host},"*) ;; *) export no_proxy="\${no_proxy:+$no_proxy,}${host}" ;; esac`,
    '',
  ].join('\n')
}

/** The cloud `volant`: `OS_CLIENT_CONFIG_FILE=STATE/clouds.yaml openstack --os-cloud volant volume list`. */
function cloudsYamlText(files: Omit<ClientFiles, 'stateDir'>): string {
  return stringify({
    clouds: {
      volant: {
        auth: {
          auth_url: `${files.url}/identity/v3`,
          username: files.username,
          password: files.password,
          user_domain_name: files.domainName,
          project_name: files.projectName,
          project_domain_name: files.domainName,
        },
        region_name: files.region,
        identity_api_version: '3',
        volume_api_version: volumeApiVersion,
        compute_api_version: computeApiVersion,
      },
    },
  })
}

async function replacePrivately(path: string, text: string): Promise<void> {
  const part = `${path}.${process.pid}.part`
  await writeFile(part, text, { mode: 0o600 })
  await rename(part, path)
}

/** Writes `STATE/openrc` and `STATE/clouds.yaml`, for their owner only, each as a whole. */
export async function writeClientFiles(files: ClientFiles): Promise<void> {
  await replacePrivately(join(files.stateDir, 'clouds.yaml'), cloudsYamlText(files))
  await replacePrivately(join(files.stateDir, 'openrc'), openrcText(files))
}
