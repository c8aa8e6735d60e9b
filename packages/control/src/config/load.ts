import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import { defaultConfig, type VolantConfig } from './config.ts'
import { parseConfig } from './parse.ts'

export interface LoadedConfig extends VolantConfig {
  /** The file that was read; absent: the embedded default. */
  file?: string
}

/**
 * The configuration in `file`; without one that of `STATE/volant.yaml` where it exists, else the embedded
 * default. Throws `ConfigError` for a wrong file, `notFound` for one that is not there.
 */
export async function loadConfig(options: {
  stateDir: string
  hostname: string
  file?: string | undefined
}): Promise<LoadedConfig> {
  const file = options.file ?? join(options.stateDir, 'volant.yaml')
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    if (missing && options.file === undefined) return defaultConfig(options)
    throw new DomainError(
      missing ? 'notFound' : 'invalid',
      `cannot read the configuration file ${file}: ${missing ? 'there is none' : messageOf(error)}`,
      { cause: error },
    )
  }
  return { ...parseConfig(text, { file, hostname: options.hostname }), file }
}
