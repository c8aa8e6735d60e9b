/** Debian's packages of Cinder, of a Ceph of one node, and of what they need. Nothing but `--with-cinder` installs them. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

export const cinderPackages = [
  ...['cinder-api', 'cinder-scheduler', 'cinder-volume', 'python3-pymysql'],
  ...['rabbitmq-server', 'mariadb-server-core', 'mariadb-client-core'],
  ...['ceph-mon', 'ceph-mgr', 'ceph-osd', 'ceph-common'],
]

const isInstalled = (name: string): boolean => {
  try {
    const state = execFileSync('dpkg-query', ['-W', '-f', '${db:Status-Abbrev}', name], { stdio: 'pipe' })
    return state.toString().startsWith('ii')
  } catch {
    return false
  }
}

/** Why they can't be installed here; undefined: they can be. */
function obstacle(): string | undefined {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  if (!/^VERSION_CODENAME="?bookworm"?$/m.test(release))
    return "they are Debian 12's, and this is another system"
  if (process.getuid?.() !== 0) return 'only root can install them'
  return undefined
}

/** Installs what is missing, without starting any of it. Throws where that is impossible. */
export function ensureCinderInstalled(say: (text: string) => void): void {
  const missing = cinderPackages.filter((name) => !isInstalled(name))
  if (missing.length === 0) return
  const why = obstacle()
  if (why !== undefined) throw new Error(`The packages ${missing.join(', ')} are missing; ${why}.`)
  say(`installing ${missing.join(', ')}, and what they depend on; they stay installed`)
  withoutStarts(() => {
    const options = ['-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300']
    execFileSync('nice', ['ionice', '-c3', 'apt-get', 'install', ...options, ...missing], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  })
}

const policyPath = '/usr/sbin/policy-rc.d'

/** Debian's way to forbid that a package starts its service as soon as it is installed; a policy that is there stays. */
function withoutStarts(task: () => void): void {
  const own = !existsSync(policyPath)
  if (own) writeFileSync(policyPath, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    task()
  } finally {
    if (own) rmSync(policyPath)
  }
}
