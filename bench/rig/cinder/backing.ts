/** What Cinder's services share: a MariaDB on a socket, and a RabbitMQ on loopback. */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { answers, startService, type Service } from './service.ts'

const run = promisify(execFile)

export interface Database {
  /** Of SQLAlchemy. */
  url: string
  /** Statements, as root, in the database `cinder`; what they print, in columns of tabs without a heading. */
  sql(statements: string): Promise<string>
  service: Service
}

export async function startMariaDb(folder: string): Promise<Database> {
  const data = join(folder, 'db')
  const socket = join(folder, 'db.sock')
  await run('mariadb-install-db', [
    ...['--no-defaults', `--datadir=${data}`, '--user=root', '--auth-root-authentication-method=normal'],
    ...['--skip-test-db', '--skip-name-resolve'],
  ])
  const service = startService(folder, 'mariadbd', [
    ...(['mariadbd', '--no-defaults', `--datadir=${data}`, `--socket=${socket}`] as const),
    ...['--skip-networking', '--user=root', `--pid-file=${folder}/db.pid`],
  ])
  const ask = async (statements: string, database = ''): Promise<string> => {
    const options = ['--no-defaults', '-S', socket, '-u', 'root', '-B', '-N', '-e', statements]
    return (await run('mariadb', [...options, ...(database === '' ? [] : [database])])).stdout
  }
  try {
    const create = 'create database cinder character set utf8'
    await answers('mariadbd', service, async () => (await ask('select 1')).trim() === '1')
    await ask(create)
  } catch (error) {
    await service.stop()
    throw error
  }
  return {
    url: `mysql+pymysql://root@/cinder?unix_socket=${socket}`,
    sql: (statements) => ask(statements, 'cinder'),
    service,
  }
}

export interface RabbitPorts {
  names: number
  amqp: number
  distribution: number
}

/** With a name service of its own, so that it neither finds nor leaves one. */
export async function startRabbit(folder: string, ports: RabbitPorts): Promise<Service[]> {
  const own = join(folder, 'rabbit')
  await mkdir(own)
  await writeFile(join(own, 'rabbitmq.conf'), `listeners.tcp.1 = 127.0.0.1:${ports.amqp}\n`)
  await writeFile(join(own, 'plugins'), '[].\n')
  const names = startService(folder, 'epmd', ['epmd', '-port', String(ports.names), '-address', '127.0.0.1'])
  const rabbit = startService(folder, 'rabbitmq', ['/usr/lib/rabbitmq/bin/rabbitmq-server'], {
    // For Erlang's cookie.
    HOME: own,
    ERL_EPMD_PORT: String(ports.names),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: 'bench@localhost',
    RABBITMQ_DIST_PORT: String(ports.distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_CONFIG_FILE: join(own, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(own, 'none'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(own, 'plugins'),
    RABBITMQ_GENERATED_CONFIG_DIR: join(own, 'generated'),
    RABBITMQ_MNESIA_BASE: own,
    RABBITMQ_LOG_BASE: own,
    RABBITMQ_LOGS: '-',
  })
  try {
    await answers('rabbitmq-server', rabbit, async () => /Server startup complete/.test(rabbit.printed()))
  } catch (error) {
    for (const service of [rabbit, names]) await service.stop()
    throw error
  }
  return [names, rabbit]
}
